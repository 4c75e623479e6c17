"""`llmd load`, `llmd unload` and `llmd reload`: what a running daemon is asked to do."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import click

from llmd.cli.daemon_options import daemon_url
from llmd.cli.remote import Remote
from llmd.config.size_text import size_text
from llmd.errors import DaemonError, DaemonUnreachable


@click.command()
@click.argument("model")
@click.option(
    "--keep-alive",
    metavar="TIME",
    help="How long it stays when nobody uses it, such as 15m; -1 is for ever.",
)
@daemon_url
def load(model: str, keep_alive: str | None, url: str | None) -> None:
    """Have a running daemon load MODEL, one that it serves, and wait until it is ready. Others make
    room for it where memory does not suffice.
    """
    remote = Remote.choose(url, os.environ)
    body = {"model": model, "keep_alive": keep_alive}
    progress = _Progress(remote, model) if sys.stderr.isatty() else None
    try:
        told = remote.post("/models/load", body, meanwhile=progress)
    finally:
        if progress is not None:
            progress.clear()
    memory = told.get("memory", {}).get("total")
    click.echo(f"{told['id']} is {told['state']}" + (f", {size_text(memory)}" if memory else ""))


class _Progress:
    """One line on the terminal about a load under way; each call brings it up to date."""

    def __init__(self, remote: Remote, model: str) -> None:
        self._remote = remote
        self._model = model

    def __call__(self) -> None:
        with suppress(DaemonError, DaemonUnreachable):  # of which the load itself will tell
            told = self._remote.get(f"/v1/models/{quote(self._model)}")
            share = f"{told['load_progress']:.0%}" if told["state"] == "loading" else "waiting"
            click.echo(f"\r\x1b[Kloading {told['id']}: {share}", err=True, nl=False)

    def clear(self) -> None:
        click.echo("\r\x1b[K", err=True, nl=False)


@click.command()
@click.argument("model")
@daemon_url
def unload(model: str, url: str | None) -> None:
    """Have a running daemon unload MODEL, and wait until its memory is given back. Requests that
    use it are finished first; it is loaded again when it is asked for.
    """
    told = Remote.choose(url, os.environ).post("/models/unload", {"model": model})
    click.echo(f"{told['id']} is {told['state']}")


@click.command()
@daemon_url
def reload(url: str | None) -> None:
    """Have a running daemon read its configuration again. It tells what changed, and what changes
    only when it is restarted.
    """
    told = Remote.choose(url, os.environ).post("/reload", {})
    lines = list(_changes(told))
    click.echo(f"{told['file'] or 'no configuration file'}: " + ("; ".join(lines) or "no changes"))


def _changes(told: dict[str, Any]) -> list[str]:
    changes = {**told["models"], "applied": told["applied"]}
    changes["needs a restart"] = told["needs_restart"]
    return [f"{how}: {', '.join(names)}" for how, names in changes.items() if names]
