"""What outlives a restart: time to first token of a long conversation, before, after and cold.

    python benchmarks/restart.py --model-file model.gguf --rounds 3 \\
        --server "llmd=llmd serve {model} --port {port} --threads {threads} --ctx-size {context} \\
            --cache-dir {cache_dir}"

In each round a server with an empty {cache_dir} reads the conversation, then answers its next turn
("before"); it is ended by SIGTERM and started again, and answers the turn after that ("after"); at
last one with another empty directory gets that same request ("cold"). Whoever keeps nothing is as
slow after as cold. Other names in commands are filled in as compare.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from connection import Address, Connection
from conversation import Message, chat, continued
from load import exchange
from report import Exchange
from server import Server, Values, add_server_options, report_in_turn, started

OUTPUT_TOKENS = 16
STOP_SECONDS = 120.0
"""A daemon may have gigabytes to write before it ends."""


@dataclass(frozen=True, slots=True)
class Result:
    """Times to the first token and others in seconds; None where a server does not tell."""

    num_prompt_tokens: int | None
    first_request: float
    """The conversation's first request, which computes it all."""
    before: float
    cached_before: int | None
    stop_seconds: float
    stored_mib: float
    ready_first: float
    ready_again: float
    after: float
    cached_after: int | None
    cold: float
    cold_over_after: float


METRICS = {
    "num_prompt_tokens": ("prompt tokens", "d"),
    "first_request": ("first token: the whole conversation, s", ".3f"),
    "before": ("  its next turn, before the restart", ".3f"),
    "after": ("  the turn after that, after it", ".3f"),
    "cold": ("  the same turn, nothing kept", ".3f"),
    "cold_over_after": ("cold / after", ".1f"),
    "cached_before": ("cached tokens before", "d"),
    "cached_after": ("  after", "d"),
    "stored_mib": ("stored, MiB", ".0f"),
    "stop_seconds": ("SIGTERM to end, s", ".2f"),
    "ready_first": ("start to ready, empty directory, s", ".2f"),
    "ready_again": ("  with what was stored", ".2f"),
}


async def ask(address: Address, messages: Sequence[Message]) -> Exchange:
    """Stream one answer. RuntimeError where there is none."""
    body = {
        "model": "default",
        "messages": messages,
        "max_tokens": OUTPUT_TOKENS,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    connection = Connection(address)
    try:
        answer = await exchange(connection, json.dumps(body).encode())
    finally:
        await connection.close()
    if answer.error or not answer.arrivals:
        raise RuntimeError(f"a request was not answered: {answer.error or 'no text'}")
    return answer


def measure_restart(
    server: Server, values: Values, folder: Path, *, seed: int, num_words: int, evict: bool
) -> Result:
    conversation = chat(seed, num_words)
    second = continued(conversation, seed, 2)
    third = continued(second, seed, 3)
    with TemporaryDirectory(dir=folder) as kept, TemporaryDirectory(dir=folder) as empty:
        keeping = {**values, "cache_dir": kept}
        with started(server, keeping, folder, stop_seconds=STOP_SECONDS) as run:
            ready_first = run.seconds_to_ready
            first = asyncio.run(ask(run.address, conversation))
            before = asyncio.run(ask(run.address, second))
            stopping = time.monotonic()
        stop_seconds = time.monotonic() - stopping
        stored = [path for path in Path(kept).rglob("*") if path.is_file()]
        stored_mib = sum(path.stat().st_size for path in stored) / 2**20
        if evict:
            evict_from_memory(stored)
        with started(server, keeping, folder, stop_seconds=STOP_SECONDS) as run:
            ready_again = run.seconds_to_ready
            after = asyncio.run(ask(run.address, third))
        with started(server, {**values, "cache_dir": empty}, folder) as run:
            cold = asyncio.run(ask(run.address, third))
    return Result(
        num_prompt_tokens=after.num_prompt_tokens or None,
        first_request=first.first,
        before=before.first,
        cached_before=before.num_cached_tokens,
        stop_seconds=stop_seconds,
        stored_mib=stored_mib,
        ready_first=ready_first,
        ready_again=ready_again,
        after=after.first,
        cached_after=after.num_cached_tokens,
        cold=cold.first,
        cold_over_after=cold.first / after.first,
    )


def evict_from_memory(paths: Sequence[Path]) -> None:
    """Have the kernel forget what it holds of these files, as if the machine had been off."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_server_options(parser, context=8192)
    parser.add_argument("--words", type=int, default=4000, help="of the conversation")
    parser.add_argument(
        "--from-disk", action="store_true", help="evict the stored files from memory first"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    def measure(server: Server, values: Values, folder: Path, number: int) -> Result:
        return measure_restart(
            server,
            values,
            folder,
            seed=options.seed + number,
            num_words=options.words,
            evict=options.from_disk,
        )

    return report_in_turn(options, measure, METRICS)


if __name__ == "__main__":
    sys.exit(main())
