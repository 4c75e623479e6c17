"""`llmd doctor`: what this machine and this build can do, and how a model would run here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmd.cli.answer_json import print_json
from llmd.cli.serve import setting_options
from llmd.config.load import load
from llmd.config.size_text import size_text
from llmd.store.locate import name_of

if TYPE_CHECKING:
    from llmd.daemon.doctor import Finding, ModelFinding


def _doctor(model: str | None, config: Path | None, as_json: bool, **settings: Any) -> None:
    flags = {
        name.replace("__", "."): value for name, value in settings.items() if value is not None
    }
    loaded = load(flags, config, os.environ, Path.cwd(), [model] if model else (), name_of)
    # It brings the native library, which --help has no use for.
    from llmd.daemon.doctor import examine, examine_model

    found, planned = examine(loaded, os.environ), None
    if model:
        budget = int(loaded.settings.server.memory_budget) or None
        ((name, chosen),) = loaded.settings.models.items()
        planned = examine_model(name, chosen, budget)
    if as_json:
        print_json(_as_json(found, planned))
    else:
        _print_table([(each.name, each.value) for each in found])
        if planned is not None:
            click.echo()
            _print_table(list(_plan_rows(planned)))
    faults = [each for each in found if each.is_fault]
    if (planned is not None and planned.fault) or (faults and not model):
        raise SystemExit(1)


def _plan_rows(planned: ModelFinding) -> Iterator[tuple[str, str]]:
    yield "model", planned.name
    estimate = planned.estimate
    if estimate is not None:
        yield "weights", size_text(estimate.weights)
        yield "KV cache", size_text(estimate.cache)
        yield "buffers", size_text(estimate.compute)
        yield "vocabulary", size_text(estimate.other)
        on_gpus = f", {size_text(estimate.device)} of it on GPUs" if estimate.device else ""
        yield "in all", f"{size_text(estimate.total)}{on_gpus}"
        if estimate.prompt_cache:
            yield "and over time", f"{size_text(estimate.prompt_cache)} of prompt cache at most"
    for row in planned.rows:
        if row.name != "memory":
            yield row.name, f"{row.value}: {row.reason} ({row.flag})"
    yield "verdict", planned.verdict


def _print_table(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:{width}}  {value}")


def _as_json(found: list[Finding], planned: ModelFinding | None) -> dict[str, Any]:
    machine = [asdict(each) for each in found]
    if planned is None:
        return {"machine": machine}
    model = asdict(planned) | {"fits": planned.fault is None}
    if planned.estimate is not None:
        model["estimate"] |= {"total": planned.estimate.total, "host": planned.estimate.host}
    return {"machine": machine, "model": model}


doctor = click.Command(
    "doctor",
    callback=_doctor,
    help="""Show what this machine and this build of llmd can do; with MODEL, how it would run here
    and what memory that takes, before anything is loaded. Exits with 1 where MODEL does not fit, or
    without MODEL where llmd cannot listen.

    It takes the options of `llmd serve`, and reads the same configuration.""",
    params=[
        click.Argument(["model"], required=False),
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The configuration file, in place of the first llmd.toml found.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object."),
        *setting_options(),
    ],
)
