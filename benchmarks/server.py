"""Servers under test: how each is started, when it is ready, and in which order they take turns."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any, TypeVar

from connection import Address, Connection
from report import Metrics, format_results

MAX_ROUNDS = 50
START_SECONDS = 180.0
STOP_SECONDS = 15.0

ENVIRONMENT = {"LLMD_SERVER__STATE_DIR": "none"}
"""What servers are started with unless the caller's environment says otherwise: a daemon under test
keeps its responses in memory, and leaves those of the user alone. Flags of a command go before it.
"""

Values = Mapping[str, str | int]
"""What is filled into commands, by name."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """A name for the table, a command to start with, and what its config file holds."""

    name: str
    command: str
    config: str | None = None

    def arguments(self, values: Values, config_path: Path) -> list[str]:
        """The command filled in, and the config file written. KeyError names an unknown value."""
        if self.config is not None:
            config_path.write_text(Template(self.config).substitute(values))
        return [word.format(**values, config=config_path) for word in shlex.split(self.command)]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    address: Address
    pid: int
    seconds_to_ready: float


@contextmanager
def running(
    arguments: Sequence[str], log: Path, *, stop_seconds: float = STOP_SECONDS
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own group, ended with all its children when the block is left: by SIGTERM,
    and `stop_seconds` later by SIGKILL. ENVIRONMENT is in its environment.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**ENVIRONMENT, **os.environ},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(stop_seconds)
        finally:
            if process.poll() is None:
                print(f"{arguments[0]} did not end by itself", file=sys.stderr)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def started(
    server: Server, values: Values, folder: Path, *, stop_seconds: float = STOP_SECONDS
) -> Iterator[Running]:
    """The server on a free port, ready; its log and config file lie in `folder`.

    RuntimeError where it does not get ready. That, and one raised inside the block, is raised
    again with the end of the server's log.
    """
    port = free_port()
    log, config = folder / f"{server.name}.log", folder / f"{server.name}.json"
    address = Address("127.0.0.1", port, "")
    try:
        arguments = server.arguments({**values, "port": port}, config)
    except KeyError as error:
        known = ", ".join([*values, "port", "config"])
        raise RuntimeError(f"nothing is filled in for {error} here, but for {known}") from error
    begun = time.monotonic()
    with running(arguments, log, stop_seconds=stop_seconds) as process:
        try:
            asyncio.run(wait_ready(address, process))
            yield Running(address, process.pid, time.monotonic() - begun)
        except RuntimeError as error:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{error}; its log ends with:\n{tail}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_ready(address: Address, process: subprocess.Popen[bytes]) -> None:
    """Until the server has its model. RuntimeError where it ends first, or takes too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while process.poll() is None:
                # Not every server tells its health; a list of models all of them have.
                if await _status(address, "/health") in (200, 404):
                    if await _status(address, "/v1/models") == 200:
                        return
                await asyncio.sleep(0.1)
    raise RuntimeError("the server did not get ready")


async def _status(address: Address, path: str) -> int | None:
    """None where nobody answers."""
    connection = Connection(address)
    try:
        return (await connection.request("GET", path)).status
    except (OSError, EOFError):
        return None
    finally:
        await connection.close()


def add_server_options(parser: argparse.ArgumentParser, *, context: int) -> None:
    """The options that `measure_in_turn` reads."""
    parser.add_argument("--server", type=_parse_pair, action="append", required=True)
    parser.add_argument("--config", type=_parse_pair, action="append", default=[])
    parser.add_argument("--model-file", type=Path, required=True)
    parser.add_argument("--rounds", type=int, choices=range(1, MAX_ROUNDS + 1), default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--context", type=int, default=context)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def measure_in_turn(
    options: argparse.Namespace, measure: Callable[[Server, Values, Path, int], T]
) -> dict[str, list[T]]:
    """A B A B: in each round (from 0) every server is measured once, so that a slow hour hurts all.

    RuntimeError names the server that failed.
    """
    # Without this, who ends the benchmark leaves a server running.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    configs = dict(options.config)
    servers = [Server(name, command, configs.get(name)) for name, command in options.server]
    values = {
        "model": str(options.model_file.resolve()),
        "threads": options.threads,
        "context": options.context,
    }
    results: dict[str, list[T]] = {server.name: [] for server in servers}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for number in range(options.rounds):
            for server in servers:
                begun = time.monotonic()
                try:
                    results[server.name].append(measure(server, values, Path(folder), number))
                except RuntimeError as error:
                    raise RuntimeError(f"{server.name}: {error}") from error
                seconds = time.monotonic() - begun
                print(f"round {number + 1} {server.name}: {seconds:.0f} s", file=sys.stderr)
    return results


def report_in_turn(
    options: argparse.Namespace,
    measure: Callable[[Server, Values, Path, int], Any],
    metrics: Metrics,
) -> int:
    """`measure_in_turn`, its results printed as a table or, with `options.json`, as JSON.

    Returns the exit code.
    """
    try:
        results = measure_in_turn(options, measure)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({name: [asdict(r) for r in found] for name, found in results.items()}))
    else:
        print(format_results(metrics, results))
    return 0


def _parse_pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
