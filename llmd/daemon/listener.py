"""The sockets that the daemon listens on: one of its own, or those that systemd hands over."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from llmd.config.settings import ServerSettings
from llmd.errors import AddressInUse, StartupError

FIRST_INHERITED = 3
"""The descriptor of the first socket handed over (sd_listen_fds(3))."""

BACKLOG = 2048
"""Connections that may wait to be taken; the kernel has a bound of its own, net.core.somaxconn."""


@dataclass(slots=True)
class Listeners:
    """Sockets that take connections from the start on, also before anybody answers there."""

    sockets: list[socket.socket]
    is_inherited: bool = False
    """They are systemd's: connections made when we stop wait there for the next daemon."""
    own_path: Path | None = None
    """A Unix socket that we made, and take away."""

    @property
    def addresses(self) -> list[str]:
        """As people write them. Of a closed socket there is none."""
        return [address_of(each) for each in self.sockets]

    def close(self) -> None:
        """Take no more connections. Idempotent."""
        for each in self.sockets:
            each.close()
        if self.own_path is not None:
            self.own_path.unlink(missing_ok=True)
            self.own_path = None


def open_listeners(settings: ServerSettings, environ: MutableMapping[str, str]) -> Listeners:
    """The sockets that systemd hands over, else one as the settings say. What tells of sockets is
    taken out of `environ`. Raises AddressInUse or StartupError; done before the model is loaded, so
    that a taken port is told at once.
    """
    inherited = inherit(environ)
    if inherited:
        return Listeners(inherited, is_inherited=True)
    return Listeners([bind(settings)], own_path=settings.uds)


def inherit(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd hands over to this process, for a .socket unit. Raises StartupError
    where one of them is none to listen on.
    """
    count = environ.pop("LISTEN_FDS", "")
    process = environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not count.isdecimal():
        return []
    descriptors = range(FIRST_INHERITED, FIRST_INHERITED + int(count))
    return [_adopt(descriptor) for descriptor in descriptors]


def _adopt(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        inherited = socket.socket(fileno=descriptor)
        listens = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartupError(
            f"LISTEN_FDS names descriptor {descriptor}, which is no socket: {error.strerror}. "
            f"Start llmd from a .socket unit, or without LISTEN_FDS."
        ) from error
    if inherited.type != socket.SOCK_STREAM or not listens:
        inherited.close()
        raise StartupError(
            f"the socket handed over as descriptor {descriptor} takes no connections. Use "
            f"ListenStream= and Accept=no in the .socket unit."
        )
    return inherited


def bind(settings: ServerSettings) -> socket.socket:
    """A socket that takes connections where the settings say. Raises AddressInUse or
    StartupError.
    """
    if settings.uds is not None:
        return _bind_unix(settings.uds, int(settings.uds_mode, 8))
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    address = f"{settings.host}:{settings.port}"
    try:
        listener.bind((settings.host, settings.port))
        # Two may bind the same address with SO_REUSEADDR; only one may listen there.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"{address} is in use by another program. Choose another --port, or stop it."
            ) from error
        raise StartupError(
            f"cannot listen on {address}: {error.strerror or error}. Check --host and --port."
        ) from error
    return listener


def _bind_unix(path: Path, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()  # left behind by a daemon that was killed
        listener.bind(str(path))
        # Nobody can connect before it listens.
        path.chmod(mode)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"cannot listen on the socket {path}: {error.strerror or error}. Choose another --uds."
        ) from error
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def address_of(listener: socket.socket) -> str:
    """As people write it: http://127.0.0.1:8080, or unix:PATH (unix:@NAME without a file)."""
    name = listener.getsockname()
    if isinstance(name, bytes):  # the abstract namespace
        return f"unix:@{name[1:].decode(errors='replace')}"
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"
