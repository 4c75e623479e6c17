"""Which daemon a chat talks to: one that was named, one that runs, or one of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmd.cli.private_daemon import PrivateDaemon
from llmd.cli.remote import Address, Remote
from llmd.config.load import LoadedSettings, load
from llmd.config.settings import ServerSettings
from llmd.errors import (
    DaemonError,
    DaemonUnreachable,
    ModelFileNotFound,
    ModelNotFound,
    Unsupported,
)
from llmd.store.locate import locate, name_of, reference_of

PROBE_TIMEOUT = 2.0
"""Seconds in which what listens at the usual address must show that it is an llmd."""

LINE_INTERVAL = 5.0
"""Seconds between two lines about a load where there is no terminal."""

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model that answers, its id at its daemon, and its context in tokens where that is known."""

    remote: Remote
    name: str
    context_length: int | None


@contextmanager
def open_model(
    model: str | None, url: str | None, config: Path | None, environ: Mapping[str, str]
) -> Iterator[ChatModel]:
    """The MODEL, served by the daemon at `url` or LLMD_URL where either is given; else by the one
    that runs at the configured address; else by a private one that ends with the block. Raises
    LlmdError.
    """
    if url or environ.get("LLMD_URL"):
        remote = Remote.choose(url, environ)
        yield _choose(remote, _models(remote), model)
        return
    loaded = load({}, config, environ, Path.cwd(), [model] if model else [], name_of)
    name = (*loaded.preloaded, *loaded.settings.models)[0]
    running = Remote(usual_address(loaded.settings.server), environ.get("LLMD_API_KEY"))
    found = _find(running, {model, name} if model else None)
    if found is not None:
        yield found
        return
    _have_file(loaded.settings.models[name].source)
    with PrivateDaemon(_arguments(model, config, loaded)) as private:
        with _Progress(name) as progress:
            models = private.wait(loaded.preloaded, progress.show)
        yield _choose(private.remote, models, name)


def usual_address(server: ServerSettings) -> Address:
    """Where a daemon with these settings listens."""
    if server.uds is not None:
        return Address.parse(f"unix:{server.uds}")
    return Address("http", _ANY.get(server.host, server.host), server.port)


def _have_file(source: str) -> None:
    """Raises what `locate` does; on a terminal a model of a hub that is not here is pulled."""
    try:
        locate(source)
    except ModelFileNotFound:
        reference = reference_of(source)
        if reference is None or not sys.stdout.isatty():
            raise
        from llmd.cli.pull import pull_model
        from llmd.cli.pull_progress import open_progress

        with open_progress() as progress:
            pull_model(reference, progress)
        locate(source)


def _arguments(model: str | None, config: Path | None, loaded: LoadedSettings) -> list[str]:
    """Those of `llmd serve` for this model; as one chat asks one thing at a time, without room for
    more, unless the configuration wants it.
    """
    arguments = [*([model] if model else []), *(["--config", str(config)] if config else [])]
    if any(key[0] in ("model", "models") and key[-1] == "parallel" for key in loaded.origins):
        return arguments
    return [*arguments, "--parallel", "1"]


def _models(remote: Remote, **options: float) -> list[dict[str, Any]]:
    try:
        return list(remote.get("/v1/models", **options)["data"])
    except (LookupError, TypeError) as error:
        raise DaemonError(f"{remote.address} lists no models. Check that it is an llmd.") from error


def _find(remote: Remote, names: set[str] | None) -> ChatModel | None:
    """The model at a daemon that runs; None where there is none, or not this model."""
    try:
        models = _models(remote, timeout=PROBE_TIMEOUT)
    except (DaemonError, DaemonUnreachable):
        return None
    for entry in models:
        if entry.get("owned_by") == "llmd" and (names is None or entry["id"] in names):
            return _chat_model(remote, entry)
    return None


def _choose(remote: Remote, models: list[dict[str, Any]], name: str | None) -> ChatModel:
    for entry in models:
        if name is None or entry["id"] == name:
            return _chat_model(remote, entry)
    served = ", ".join(entry["id"] for entry in models) or "nothing"
    raise ModelNotFound(
        f"{remote.address} serves {served}, not {name}. Name one of those, or leave --url and "
        f"LLMD_URL out to load it here."
    )


def _chat_model(remote: Remote, entry: dict[str, Any]) -> ChatModel:
    name = str(entry["id"])
    if "chat" not in entry.get("capabilities", ["chat"]):
        raise Unsupported(f"{name} embeds or ranks texts and writes none. Choose another model.")
    return ChatModel(remote, name, entry.get("context_length"))


class _Progress:
    """How far a load is, on stderr: one line that is gone afterwards on a terminal, a line now and
    then elsewhere.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_terminal = sys.stderr.isatty() and os.environ.get("TERM") not in (None, "dumb")
        self._shown = ""
        self._due = time.monotonic() + LINE_INTERVAL

    def __enter__(self) -> _Progress:
        self.show(None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, loaded: float | None) -> None:
        text = f"loading {self._name} ..." + ("" if loaded is None else f" {loaded:.0%}")
        if self._is_terminal and text != self._shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        elif not self._is_terminal and time.monotonic() >= self._due:
            self._due += LINE_INTERVAL
            sys.stderr.write(f"{text}\n")
        self._shown = text
