"""Two models under a memory budget for one: cold start, and how long a switch takes.

    python benchmarks/switch.py llmd/tiny/tiny.gguf model.gguf --rounds 5

"cold" is the time from the start of the process to the first token of an answer of the model, which
it is told to serve alone. For the others one daemon serves both, with a budget that holds the
larger one only, and gets one request at a time: "switch" is the time to the first token of a model
while the other one is loaded and idle, "warm" that of the next request to the same one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from connection import Address, Connection
from load import exchange
from report import format_table
from server import Server, free_port, running, started

PATIENCE = 300.0
"""Seconds that a cold start may take."""


@dataclass(frozen=True, slots=True)
class Result:
    """Of one model; times in seconds."""

    name: str
    memory_mib: float
    cold: list[float]
    switch: list[float]
    warm: list[float]


async def first_token(address: Address, model: str, *, retry: bool = False) -> float:
    """Seconds to the first token of a short answer. With `retry` the daemon may not listen yet.
    RuntimeError where there is no answer.
    """
    body = {"model": model, "prompt": "The water", "max_tokens": 4, "temperature": 0}
    data = json.dumps(body | {"stream": True, "ignore_eos": True}).encode()
    begun = time.monotonic()
    while True:
        connection = Connection(address)
        try:
            answer = await exchange(connection, data, api="completions")
        finally:
            await connection.close()
        if answer.arrivals and not answer.error:
            return answer.arrivals[0] - begun
        refused = (answer.error or "").startswith("status")
        if not retry or refused or time.monotonic() - begun > PATIENCE:
            raise RuntimeError(f"{model} does not answer: {answer.error or 'no text'}")
        await asyncio.sleep(0.01)


def measure_cold(command: Sequence[str], model: Path, folder: Path) -> float:
    """From the start of the process to the first token."""
    port = free_port()
    arguments = [*command, "serve", str(model), "--port", str(port)]
    begun = time.monotonic()
    with running(arguments, folder / "cold.log"):
        asyncio.run(first_token(Address("127.0.0.1", port, ""), "any", retry=True))
        return time.monotonic() - begun


async def memory_of(address: Address, names: Sequence[str]) -> dict[str, int]:
    """What each model takes, in bytes as the daemon estimates it."""
    found = {}
    connection = Connection(address)
    try:
        for name in names:
            body = json.dumps({"model": name}).encode()
            answer = await connection.request("POST", "/models/load", body)
            told: dict[str, Any] = json.loads(await answer.read())
            found[name] = int(told["memory"]["total"])
    finally:
        await connection.close()
    return found


async def switch_in_turn(address: Address, names: Sequence[str], rounds: int) -> list[list[float]]:
    """For each model its times to the first token after a switch, then its warm ones."""
    switches: list[list[float]] = [[] for _ in names]
    warm: list[list[float]] = [[] for _ in names]
    for name in names:
        await first_token(address, name)
    for _ in range(rounds):
        for number, name in enumerate(names):
            switches[number].append(await first_token(address, name))
            warm[number].append(await first_token(address, name))
    return switches + warm


def measure(
    command: Sequence[str], models: Sequence[Path], flags: Sequence[str], rounds: int
) -> list[Result]:
    """Each model's figures. RuntimeError where a daemon does not serve."""
    names = [model.stem for model in models]
    both = [*command, "serve", *map(str, models), *flags, "--port", "{port}"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        folder = Path(place)
        cold = [
            [measure_cold([*command], model, folder) for _ in range(rounds)] for model in models
        ]
        with started(Server("llmd", shlex.join(both)), {}, folder) as live:
            sizes = asyncio.run(memory_of(live.address, names))
        budget = max(sizes.values()) + min(sizes.values()) // 2
        tight = [*both, "--memory-budget", str(budget)]
        with started(Server("llmd", shlex.join(tight)), {}, folder) as live:
            times = asyncio.run(switch_in_turn(live.address, names, rounds))
    return [
        Result(name, sizes[name] / 2**20, cold[i], times[i], times[len(names) + i])
        for i, name in enumerate(names)
    ]


def table(results: Sequence[Result]) -> str:
    rows = [
        (
            each.name,
            f"{each.memory_mib:.0f}",
            *(
                f"{statistics.median(times):.3f} ({min(times):.3f} .. {max(times):.3f})"
                for times in (each.cold, each.switch, each.warm)
            ),
        )
        for each in results
    ]
    return format_table(("model", "MiB", "cold, s", "switch, s", "warm, s"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs=2, type=Path, metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--command", default=f"{sys.executable} -m llmd", help="that starts llmd")
    parser.add_argument(
        "--flags", default="--ctx-size 4096 --kv-tokens 16384", help="of both models in one daemon"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        try:
            results = measure(
                shlex.split(options.command),
                [model.resolve() for model in options.models],
                shlex.split(options.flags),
                options.rounds,
            )
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        print(json.dumps([asdict(each) for each in results]) if options.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
