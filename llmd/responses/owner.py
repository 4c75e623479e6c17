"""Which daemons are still alive, of those that share a state directory."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{16}")


class Owner:
    """One daemon, as the others see it: a file that it holds a lock on for as long as it lives.
    The kernel lets go of the lock however the process ends. One thread at a time.
    """

    def __init__(self, directory: Path | None) -> None:
        """Without a directory there are no others."""
        self.name = secrets.token_hex(8)
        self._directory = directory
        self._descriptor: int | None = None

    def announce(self) -> None:
        """Let the others know; before anything is kept under this name. Raises OSError."""
        if self._directory is None or self._descriptor is not None:
            return
        descriptor = os.open(self._path(self.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor

    def is_alive(self, name: str) -> bool:
        """Whether the daemon of that name still runs; what a dead one left behind is removed."""
        if name == self.name:
            return True
        if self._directory is None or not _NAME.fullmatch(name):
            return False
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            with suppress(OSError):
                path.unlink()
            return False
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._path(self.name).unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def _path(self, name: str) -> Path:
        assert self._directory is not None
        return self._directory / f"running-{name}.lock"
