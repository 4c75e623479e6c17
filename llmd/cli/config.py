"""`llmd config`: what holds and who set it, and what is wrong with a file."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from llmd.cli.answer_json import print_json
from llmd.cli.columns import print_columns
from llmd.config.byte_size import ByteSize
from llmd.config.duration import Duration
from llmd.config.effective import effective
from llmd.config.keys import dotted
from llmd.config.load import LoadedSettings, find_faults, load
from llmd.store.locate import name_of


@click.group()
def config() -> None:
    """See the settings in force, and check a configuration file."""


@config.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file, in place of the first llmd.toml found.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(models: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Print what `llmd serve [MODEL]...` would go by here, and where each value comes from: the
    file and its line, a variable of the environment, or the default.
    """
    loaded = load({}, file, os.environ, Path.cwd(), models, name_of)
    if as_json:
        print_json(_described(loaded))
        return
    click.echo(f"file  {loaded.file or 'none'}")
    for section, rows in groupby(effective(loaded), lambda row: row.section):
        click.echo(f"\n[{dotted(section)}]")
        print_columns(
            [
                (dotted(row.key), _as_text(row.value), row.origin)
                for row in rows
                if row.value is not None
            ]
        )


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.pass_context
def check(ctx: click.Context, file: Path | None) -> None:
    """Name every fault of FILE, and of LLMD_ variables in the environment, each with its place and
    its cure; else say ok. Left out, FILE is the one that `llmd serve` would read.
    """
    found, faults = find_faults(file, os.environ, Path.cwd())
    for fault in faults:
        click.echo(fault.message, err=True)
    if faults:
        ctx.exit(1)
    click.echo(f"{found}: ok" if found else "ok; there is no configuration file, so defaults hold")


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(repr(_plain(each)) for each in value)
    return str(value)


def _described(loaded: LoadedSettings) -> dict[str, Any]:
    server: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for row in effective(loaded):
        section = models.setdefault(row.section[1], {}) if len(row.section) > 1 else server
        section[dotted(row.key)] = {"value": _plain(row.value), "origin": row.origin}
    file = None if loaded.file is None else str(loaded.file)
    return {"file": file, "server": server, "models": models}


def _plain(value: Any) -> Any:
    """As JSON has it; secrets stay hidden, as their own text hides them."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    is_text = not isinstance(value, bool | int | float | str | None)
    return str(value) if is_text or isinstance(value, ByteSize | Duration) else value
