"""Servers side by side: started in turn, A B A B, each under the same load.

    python benchmarks/compare.py --model-file model.gguf --rounds 3 \\
        --server "llmd=llmd serve {model} --port {port} --threads {threads}" \\
        --server "cpp=python -m llama_cpp.server --model {model} --port {port}" \\
        --clients 4 --requests 16

In a command {model}, {port}, {threads}, {context} and {config} are filled in; {config} is a JSON
file with the text of --config, in which the same names are filled in as $model, $port and so on.
Ratios compare each server with the first one in the same round, so a slow hour hurts both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from string import Template

from connection import Address, Connection
from load import Load, add_load_options, load_from, measure
from report import METRICS, Report, format_table, format_value

MAX_ROUNDS = 50
MAX_BUSY = 16
START_SECONDS = 180.0
STOP_SECONDS = 15.0

RATIOS = (
    "tokens_per_second",
    "stream_tokens_per_second",
    "first_p50",
    "first_p95",
    "gap_p50",
    "gap_p99",
    "total_p50",
    "server_cpu_seconds",
    "server_peak_mib",
    "server_anonymous_mib",
)


@dataclass(frozen=True, slots=True)
class Server:
    """A name for the table, a command to start with, and what its config file holds."""

    name: str
    command: str
    config: str | None = None

    def arguments(self, values: Mapping[str, str | int], config_path: Path) -> list[str]:
        """The command filled in, and the config file written. KeyError names an unknown value."""
        if self.config is not None:
            config_path.write_text(Template(self.config).substitute(values))
        return [word.format(**values, config=config_path) for word in shlex.split(self.command)]


@contextmanager
def running(arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own group, ended with all its children when the block is left."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def busy_neighbours(count: int, seconds: float) -> Iterator[None]:
    script = str(Path(__file__).with_name("busy.py"))
    with ExitStack() as stack:
        for _ in range(count):
            arguments = [sys.executable, script, "--seconds", str(seconds)]
            stack.enter_context(running(arguments, Path(os.devnull)))
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def wait_ready(address: Address, process: subprocess.Popen[bytes]) -> None:
    """Until the server lists its models. RuntimeError where it ends first, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        connection = Connection(address)
        try:
            response = await connection.request("GET", "/v1/models")
            if response.status == 200:
                return
        except (OSError, EOFError):
            pass
        finally:
            await connection.close()
        await asyncio.sleep(0.2)
    raise RuntimeError("the server did not get ready")


def run_once(
    server: Server, load: Load, values: Mapping[str, str | int], folder: Path, num_busy: int
) -> Report:
    """Start the server, put the load on it, stop it.

    RuntimeError, with the end of the server's log, where it does not answer.
    """
    port = free_port()
    log, config = folder / f"{server.name}.log", folder / f"{server.name}.json"
    address = Address("127.0.0.1", port, "")
    arguments = server.arguments({**values, "port": port}, config)

    async def drive(process: subprocess.Popen[bytes]) -> Report:
        await wait_ready(address, process)
        with busy_neighbours(num_busy, load.timeout):
            return await measure(address, load, server_pid=process.pid)

    with running(arguments, log) as process:
        try:
            return asyncio.run(drive(process))
        except RuntimeError as error:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{error}; its log ends with:\n{tail}") from error


def median(reports: Sequence[Report], metric: str) -> float | None:
    values = [value for report in reports if (value := getattr(report, metric)) is not None]
    return statistics.median(values) if values else None


def ratios(reports: Sequence[Report], baseline: Sequence[Report], metric: str) -> list[float]:
    """Round by round, this server's value over the baseline's, where both have one."""
    pairs = [
        (getattr(report, metric), getattr(base, metric))
        for report, base in zip(reports, baseline, strict=True)
    ]
    return [value / base for value, base in pairs if value is not None and base]


def format_comparison(reports: Mapping[str, Sequence[Report]]) -> str:
    """Medians of each server, then the ratios to the first one with their range."""
    names = list(reports)
    medians = [
        (label, *(format_value(metric, median(reports[name], metric)) for name in names))
        for metric, (label, _) in METRICS.items()
    ]
    text = format_table(("median", *names), medians)
    base = names[0]
    for name in names[1:]:
        rows = []
        for metric in RATIOS:
            if found := ratios(reports[name], reports[base], metric):
                each = " ".join(f"{ratio:.3f}" for ratio in found)
                rows.append((METRICS[metric][0], f"{statistics.median(found):.3f}", each))
        text += "\n\n" + format_table((f"{name} / {base}", "median", "rounds"), rows)
    return text


def _parse_pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare servers under the same load.")
    parser.add_argument("--server", type=_parse_pair, action="append", required=True)
    parser.add_argument("--config", type=_parse_pair, action="append", default=[])
    parser.add_argument("--model-file", type=Path, required=True)
    parser.add_argument("--rounds", type=int, choices=range(1, MAX_ROUNDS + 1), default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--with-busy", type=int, choices=range(MAX_BUSY + 1), default=0)
    add_load_options(parser)
    return parser.parse_args()


def main() -> int:
    options = _parse_options()
    configs = dict(options.config)
    servers = [Server(name, command, configs.get(name)) for name, command in options.server]
    values = {
        "model": str(options.model_file.resolve()),
        "threads": options.threads,
        "context": options.context,
    }
    load = load_from(options)
    reports: dict[str, list[Report]] = {server.name: [] for server in servers}
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        for number in range(options.rounds):
            # Other prompts in each round, the same ones for every server.
            round_load = replace(load, seed=load.seed + number * load.num_requests)
            for server in servers:
                try:
                    report = run_once(server, round_load, values, Path(folder), options.with_busy)
                except RuntimeError as error:
                    print(f"{server.name}: {error}", file=sys.stderr)
                    return 1
                reports[server.name].append(report)
                speed = format_value("tokens_per_second", report.tokens_per_second)
                print(f"round {number + 1} {server.name}: {speed} tokens/s", file=sys.stderr)
    if options.json:
        print(json.dumps({name: [asdict(r) for r in found] for name, found in reports.items()}))
    else:
        print(format_comparison(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
