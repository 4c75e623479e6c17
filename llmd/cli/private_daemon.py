"""A daemon for one chat alone: a child on a Unix socket that nobody else can reach."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from llmd.cli.remote import Address, Remote
from llmd.config.keys import environment_name
from llmd.config.sources import API_KEY_VARIABLE
from llmd.errors import DaemonUnreachable, StartupError

POLL = 0.03
"""Seconds between two questions to a daemon that starts."""

PATIENCE = 10.0
"""Seconds in which the child must end once it was told to."""

_LONGEST_PATH = 100
"""Of a Unix socket, in bytes: 104 with its end on macOS, 108 on Linux."""


class PrivateDaemon:
    """`llmd serve` as a child in a session of its own, so that Ctrl-C does not reach it. It ends
    with the block, and also when this process is killed (llmd/cli/tether.py).
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        """`arguments` are those of `llmd serve`. Returns at once."""
        self._directory = _make_directory()
        socket_path = str(self._directory / "llmd.sock")
        # Keys that the configuration wants of others are not asked for here.
        secret = secrets.token_urlsafe()
        self.remote = Remote(Address.parse(f"unix:{socket_path}"), secret)
        kept = {k: v for k, v in os.environ.items() if k != environment_name(("server", "api_key"))}
        self._log = tempfile.TemporaryFile()
        command = [sys.executable, "-P", "-m", "llmd.cli.tether", str(self._directory)]
        options = ["--uds", socket_path, "--state-dir", "none", "--no-log-json"]
        options += ["--keys-file", "none"]
        try:
            self._process = subprocess.Popen(
                [*command, "serve", *arguments, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                env={**kept, API_KEY_VARIABLE: secret},
                start_new_session=True,
            )
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> PrivateDaemon:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._process.terminate()
            self._process.wait(PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        finally:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._remove()

    def wait(
        self, preloaded: Collection[str], show: Callable[[float | None], None]
    ) -> list[dict[str, Any]]:
        """Returns the models of /v1/models when it has loaded those that it loads at its start.
        `show` gets how much of one is loaded, from 0 to 1, again and again; None while that is not
        known. Raises StartupError with what the child said if it ends, or why a load failed.
        """
        while self._process.poll() is None:
            models = self._models()
            awaited = [model for model in models if model["id"] in preloaded]
            failed = [model for model in awaited if model["state"] == "failed"]
            if failed:
                raise StartupError(failed[0]["error"])
            loading = [model for model in awaited if model["state"] in ("unloaded", "loading")]
            if models and not loading:
                return models
            show(loading[0].get("load_progress") if loading else None)
            time.sleep(POLL)
        raise StartupError(self._last_words())

    def _models(self) -> list[dict[str, Any]]:
        try:
            models: list[dict[str, Any]] = self.remote.get("/v1/models")["data"]
        except DaemonUnreachable:
            return []  # it does not listen yet
        return models

    def _last_words(self) -> str:
        """Why the child ended: its `llmd: ...` line, or the end of its log."""
        size = os.fstat(self._log.fileno()).st_size
        log = os.pread(self._log.fileno(), 65536, max(0, size - 65536))
        lines = [line for line in log.decode("utf-8", "replace").splitlines() if line.strip()]
        for line in reversed(lines):
            if line.startswith("llmd: "):
                return line.removeprefix("llmd: ")
        last = f" Its last line: {lines[-1]}." if lines else ""
        return (
            f"the daemon of this chat ended with status {self._process.returncode}.{last} Try "
            f"`llmd serve` to see all that it says."
        )

    def _remove(self) -> None:
        self._log.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _make_directory() -> Path:
    """A directory for the socket, which only this user can enter."""
    directory = tempfile.mkdtemp(prefix="llmd-")
    if len(os.fsencode(directory)) + len("/llmd.sock") > _LONGEST_PATH:
        os.rmdir(directory)
        directory = tempfile.mkdtemp(prefix="llmd-", dir="/tmp")
    return Path(directory)
