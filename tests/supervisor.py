"""A supervisor as systemd is one: it listens where NOTIFY_SOCKET says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 30.0
"""Seconds after which something that must happen counts as never happening."""


class Supervisor:
    def __init__(self, listener: socket.socket, address: str) -> None:
        self.address = address
        """For NOTIFY_SOCKET."""
        self._listener = listener

    def take(self) -> dict[str, str]:
        """The next notice, by its names."""
        lines = self._listener.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def wait_for(self, name: str, text: str = "") -> dict[str, str]:
        """The next notice that has `name`, with `text` in its value."""
        while True:
            notice = self.take()
            if name in notice and text in notice[name]:
                return notice


@contextmanager
def supervising(directory: Path, *, is_abstract: bool = False) -> Iterator[Supervisor]:
    path = str(directory / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(PATIENCE)
        listener.bind("\0" + path if is_abstract else path)
        yield Supervisor(listener, "@" + path if is_abstract else path)
