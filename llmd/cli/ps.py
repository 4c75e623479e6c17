"""`llmd ps`: the models that a running daemon serves, and what they take."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from llmd.cli.answer_json import print_json
from llmd.cli.columns import print_columns
from llmd.cli.daemon_options import daemon_url
from llmd.cli.remote import Remote
from llmd.config.duration import Duration
from llmd.config.size_text import size_text

_COLUMNS = ("MODEL", "STATE", "MEMORY", "CONTEXT", "USERS", "LAST USED", "UNLOADED")


@click.command()
@daemon_url
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ps(url: str | None, as_json: bool) -> None:
    """List the models of a running daemon: which are loaded, what memory they take, by how many
    requests they are used, and when they will be unloaded if nobody uses them.
    """
    models = Remote.choose(url, os.environ).get("/v1/models")["data"]
    if as_json:
        print_json({"models": models})
        return
    now = time.time()
    print_columns([_COLUMNS, *(_row(model, now) for model in models)])
    for model in models:
        if model.get("error"):
            click.echo(f"{model['id']}: {model['error']}")


def _row(model: dict[str, Any], now: float) -> tuple[str, ...]:
    state = model["state"]
    if state == "loading":
        state = f"loading {model['load_progress']:.0%}"
    memory, num_users = model.get("memory", {}).get("total"), model.get("num_users")
    return (
        model["id"],
        state,
        size_text(memory) if memory else "-",
        str(model.get("context_length", "-")),
        "-" if num_users is None else str(num_users),
        _last_used(model, now),
        _until(model, now),
    )


def _last_used(model: dict[str, Any], now: float) -> str:
    if "last_used" not in model:
        return "-"
    return "now" if model["num_users"] else f"{_span(now - model['last_used'])} ago"


def _until(model: dict[str, Any], now: float) -> str:
    if "expires_at" not in model or model["state"] != "ready":
        return "-"
    if model["num_users"]:
        return "not while used"
    expires_at = model["expires_at"]
    return "never" if expires_at is None else f"in {_span(expires_at - now)}"


def _span(seconds: float) -> str:
    """In whole seconds, and minutes where it is long."""
    whole = max(0, round(seconds))
    return f"{whole}s" if whole < 60 else str(Duration(whole // 60 * 60))
