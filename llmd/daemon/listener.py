"""The socket that the daemon listens on."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from llmd.config.settings import ServerSettings
from llmd.errors import AddressInUse, StartupError


def bind(settings: ServerSettings) -> socket.socket:
    """A bound socket. Raises AddressInUse or StartupError; done before the model is loaded, so
    that a taken port is told at once.
    """
    if settings.uds is not None:
        return _bind_unix(settings.uds)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    address = f"{settings.host}:{settings.port}"
    try:
        listener.bind((settings.host, settings.port))
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


def _bind_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()  # left behind by a daemon that was killed
        listener.bind(str(path))
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
    """As people write it: http://127.0.0.1:8080, or unix:PATH."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"
