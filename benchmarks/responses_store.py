"""What keeping responses costs: the time of a write and a read, and the size of the file.

    python benchmarks/responses_store.py DIRECTORY [--responses 10000] [--turns 20] [--json]

Fills the store of a fresh directory below DIRECTORY with conversations of `--turns` responses, each
a question and an answer of some 300 words, as the API keeps them, and reads them back: one by one,
and as the chain of a last turn. DIRECTORY says which disk is measured: each write is synced to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

from words import WORDS

from llmd.api.openai.encode_response import ResponseWriter
from llmd.api.openai.encode_response_items import text_part
from llmd.api.openai.schema_response_items import read_items
from llmd.api.openai.schema_response_tools import ResponseTools
from llmd.api.openai.schema_responses import ResponsesRequest
from llmd.responses.database import FILE_NAME, ResponseDatabase
from llmd.responses.record import ResponseRecord
from llmd.responses.store import ResponseStore

TENANT = "tenant"
NUM_WORDS = 300
NUM_READS = 1000


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds."""

    median: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class Result:
    """`chain` reads a whole conversation. Sizes are bytes: of one response as JSON, and of the file
    for each of them.
    """

    num_responses: int
    num_turns: int
    save: Latency
    last_saves: Latency
    get: Latency
    chain: Latency
    json_bytes: float
    file_bytes: float


async def measure(directory: Path, num_responses: int, num_turns: int, num_reads: int) -> Result:
    """Fill a store in an empty directory, and read it."""
    draw = random.Random(1)
    records = [make_record(draw, number, num_turns) for number in range(num_responses)]
    store = ResponseStore(
        ResponseDatabase(directory, max_age=1e9, max_bytes=1 << 40, clock=time.time)
    )
    saves = [await timed(store.save(record)) for record in records]
    some = [draw.choice(records).id for _ in range(num_reads)]
    gets = [await timed(store.find(TENANT, id_)) for id_ in some]
    lasts = [record.id for record in records[num_turns - 1 :: num_turns]]
    chosen = [draw.choice(lasts) for _ in range(num_reads // num_turns + 1)]
    chains = [await timed(store.chain(TENANT, id_)) for id_ in chosen]
    await store.close()
    num_bytes = sum(len(record.body) + len(record.input_items) for record in records)
    return Result(
        num_responses=num_responses,
        num_turns=num_turns,
        save=latency(saves),
        last_saves=latency(saves[-max(2, num_responses // 10) :]),
        get=latency(gets),
        chain=latency(chains),
        json_bytes=num_bytes / num_responses,
        file_bytes=(directory / FILE_NAME).stat().st_size / num_responses,
    )


def make_record(draw: random.Random, number: int, num_turns: int) -> ResponseRecord:
    """A turn of a conversation, as the API would keep it."""
    request = ResponsesRequest(input="")
    id_ = f"resp_{number:032x}"
    writer = ResponseWriter(id_, "model", request, ResponseTools([]))
    body: dict[str, Any] = writer.encode()
    part = text_part(text(draw))
    body["output"] = [{"id": f"msg_{number:032x}o0", "type": "message", "content": [part]}]
    return ResponseRecord(
        id=id_,
        tenant=TENANT,
        created_at=writer.created_at,
        body=json.dumps(body).encode(),
        input_items=json.dumps(read_items(text(draw), lambda kind: kind)).encode(),
        previous_id=f"resp_{number - 1:032x}" if number % num_turns else None,
    )


def text(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=NUM_WORDS))


async def timed(work: Awaitable[Any]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    assert await work
    return (time.perf_counter() - started) * 1e3


def latency(times: list[float]) -> Latency:
    cuts = quantiles(times, n=100, method="inclusive")
    return Latency(round(cuts[49], 3), round(cuts[98], 3), round(max(times), 3))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--responses", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with TemporaryDirectory(dir=options.directory) as directory:
        result = asyncio.run(measure(Path(directory), options.responses, options.turns, NUM_READS))
    if options.json:
        print(json.dumps(asdict(result)))
        return 0
    print(f"{result.num_responses} responses, {result.num_turns} turns a conversation")
    for name in ("save", "last_saves", "get", "chain"):
        of: Latency = getattr(result, name)
        print(f"{name:<12} {of.median:8.2f} ms median {of.p99:8.2f} p99 {of.worst:8.2f} worst")
    print(f"a response: {result.json_bytes:.0f} bytes as JSON, {result.file_bytes:.0f} in the file")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
