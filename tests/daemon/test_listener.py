"""The sockets that the daemon listens on."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llmd.config.settings import ServerSettings
from llmd.daemon.listener import inherit, open_listeners
from llmd.errors import AddressInUse

SETTINGS = ServerSettings(port=0)

INHERITING = """
import os, sys
from llmd.config.settings import ServerSettings
from llmd.daemon.listener import open_listeners
from llmd.errors import StartupError

# What systemd does: descriptors from 3 on, and the number of the process that they are for.
os.environ["LISTEN_PID"] = str(os.getpid())
try:
    listeners = open_listeners(ServerSettings(port=0), os.environ)
except StartupError as error:
    print(error.message)
else:
    print(listeners.is_inherited, *listeners.addresses)
    print(*(each.get_inheritable() for each in listeners.sockets))
    print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


def inheriting(*descriptors: int) -> list[str]:
    """What a process prints that is handed these descriptors as those from 3 on."""
    # Moved out of the way, so that none is overwritten before it is placed.
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD, 21) for each in descriptors]
    redirections = " ".join(f"{3 + place}<&{each}" for place, each in enumerate(moved))
    command = ["bash", "-c", f'exec "$@" {redirections}', "_", sys.executable, "-c", INHERITING]
    try:
        done = subprocess.run(
            command, pass_fds=moved, capture_output=True, text=True, timeout=60, check=True,
            env={**os.environ, "LISTEN_FDS": str(len(moved)), "LISTEN_FDNAMES": "http"},
        )  # fmt: skip
    finally:
        for each in moved:
            os.close(each)
    return done.stdout.splitlines()


def listening(path: Path | None = None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    listener.bind(str(path) if path else ("127.0.0.1", 0))
    listener.listen()
    return listener


def test_sockets_handed_over_are_taken_all(tmp_path: Path) -> None:
    path = tmp_path / "llmd.sock"
    with listening() as first, listening(path) as second:
        lines = inheriting(first.fileno(), second.fileno())
        assert lines[0] == f"True http://127.0.0.1:{first.getsockname()[1]} unix:{path}"
    assert lines[1] == "False False", "children of the daemon would hold the sockets"
    assert lines[2] == "[]"


def test_a_socket_that_takes_no_connections_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        (line,) = inheriting(datagrams.fileno())
    assert line.endswith("Use ListenStream= and Accept=no in the .socket unit.")


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        (line,) = inheriting(file.fileno())
    assert line.endswith("Start llmd from a .socket unit, or without LISTEN_FDS.")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_what_is_meant_for_another_process_is_left(environ: dict[str, str]) -> None:
    assert inherit(environ) == []


def test_its_own_socket_takes_connections_before_anybody_answers() -> None:
    listeners = open_listeners(SETTINGS, {})
    try:
        assert not listeners.is_inherited
        (address,) = listeners.addresses
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5):
            pass
    finally:
        listeners.close()


def test_of_two_daemons_on_one_port_the_second_is_refused() -> None:
    listeners = open_listeners(SETTINGS, {})
    try:
        port = listeners.sockets[0].getsockname()[1]
        with pytest.raises(AddressInUse):
            open_listeners(ServerSettings(port=port), {})
    finally:
        listeners.close()


def test_its_own_unix_socket_goes_with_it_and_another_ones_stays(tmp_path: Path) -> None:
    path = tmp_path / "llmd.sock"
    listeners = open_listeners(ServerSettings(uds=path), {})
    assert listeners.addresses == [f"unix:{path}"]
    listeners.close()
    assert not path.exists()
    with listening(path):
        listeners.close()
        assert path.exists()
