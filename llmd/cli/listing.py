"""`llmd list`: the models of hubs that are on this machine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from llmd.cli.answer_json import print_json
from llmd.cli.columns import print_columns
from llmd.config.size_text import size_text
from llmd.store.catalog import CatalogEntry, catalog, unfinished

_COLUMNS = ("MODEL", "QUANT", "SIZE", "CONTEXT", "LICENCE", "MODIFIED")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_models(as_json: bool) -> None:
    """List the models that were pulled, by llmd or by another tool into the same cache, with the
    names that serve, run, show and rm take.
    """
    entries, rest = list(catalog()), unfinished()
    if as_json:
        left = [{"repo": each.repo, "num_bytes": each.num_bytes} for each in rest]
        print_json({"models": [_described(entry) for entry in entries], "unfinished": left})
        return
    if not entries and not rest:
        click.echo("No models are here. Get one: llmd pull org/repo")
    if entries:
        print_columns([_COLUMNS, *map(_row, entries)])
    for entry in entries:
        if entry.fault:
            click.echo(f"{entry.stored.reference}: {entry.fault}")
    for each in rest:
        click.echo(
            f"{each.repo}: {size_text(each.num_bytes)} of an unfinished pull. Go on: llmd pull "
            f"{each.repo}"
        )


def _row(entry: CatalogEntry) -> tuple[str, ...]:
    file, stored = entry.file, entry.stored
    context = file.context_length if file else None
    return (
        str(stored.reference),
        file.quantization if file else stored.model.quant,
        size_text(stored.num_bytes),
        str(context or "-"),
        (file.license if file else None) or "-",
        f"{datetime.fromtimestamp(stored.modified):%Y-%m-%d %H:%M}",
    )


def _described(entry: CatalogEntry) -> dict[str, Any]:
    file, stored = entry.file, entry.stored
    return {
        "reference": str(stored.reference),
        "path": str(stored.path),
        "quantization": file.quantization if file else stored.model.quant,
        "num_bytes": stored.num_bytes,
        "num_parts": len(stored.files),
        "projector": str(stored.projector) if stored.projector else None,
        "architecture": file.architecture if file else None,
        "num_parameters": file.num_parameters if file else None,
        "context_length": file.context_length if file else None,
        "license": file.license if file else None,
        "modified": datetime.fromtimestamp(stored.modified).astimezone().isoformat("T", "seconds"),
        "fault": entry.fault,
    }
