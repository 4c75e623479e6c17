"""What systemd is told of the daemon: the protocol of sd_notify(3), which is datagrams."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

logger = logging.getLogger("llmd.daemon")

PATIENCE = 0.5
"""Seconds that a notice may take: the event loop waits for it."""


class Notifier:
    """Tells the supervisor that started this process; silent where there is none, or where it does
    not listen. Any thread; never raises.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes what it needs out of `environ`, so that no child of ours speaks in our name."""
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        self.watchdog_interval = _watchdog_interval(environ)
        """Seconds after which one that does not say that it lives is restarted; None is never."""
        self._has_failed = False

    @property
    def is_on(self) -> bool:
        return self._address is not None

    def ready(self, status: str) -> None:
        """The start, or a reload, is over."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is read again; `ready` must follow, also where that failed."""
        # The time is what Type=notify-reload knows the reload by that it has asked for.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str, seconds: float) -> None:
        """The end begins, and takes so many seconds at most."""
        self._send("STOPPING=1", f"STATUS={status}", _extension(seconds))

    def status(self, text: str) -> None:
        """A line for people: `systemctl status` shows it."""
        self._send(f"STATUS={text}")

    def extend_timeout(self, seconds: float) -> None:
        """The start, or the end, goes on: let it take that much longer from now on."""
        self._send(_extension(seconds))

    def alive(self) -> None:
        """Due more often than every `watchdog_interval`."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        # A line is an assignment, and a model's name may hold a line break.
        data = "\n".join(" ".join(each.splitlines()) for each in assignments).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(PATIENCE)
                sender.sendto(data, self._address)
        except OSError as error:
            if not self._has_failed:
                logger.warning("cannot tell systemd %r: %s", assignments[0], error)
            self._has_failed = True


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"


def _address(given: str) -> str | None:
    """A leading @ is the abstract namespace, which has no files. Other kinds, such as vsock of a
    virtual machine, are not for services.
    """
    if given.startswith("@"):
        return "\0" + given[1:]
    return given if given.startswith("/") else None


def _watchdog_interval(environ: MutableMapping[str, str]) -> float | None:
    microseconds = environ.pop("WATCHDOG_USEC", "")
    process = environ.pop("WATCHDOG_PID", "")
    # Another process' watchdog: we were started by a child of the supervisor's.
    if process and process != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
