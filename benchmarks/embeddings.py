"""Embeddings per second of servers side by side: started in turn, A B A B, with the same texts.

    python benchmarks/embeddings.py --model-file model.gguf --rounds 3 --inputs 2048 --clients 1 \\
        --server "cpp=python -m llama_cpp.server --model {model} --port {port} \\
            --embedding true --n_threads {threads} --n_threads_batch {threads}" \\
        --server "llmd=llmd serve {model} --port {port} --threads {threads} --embeddings"

Each of --clients sends one call with --inputs texts, --requests times, all at once. Lengths are
spread evenly between --min-words and --max-words. Ratios compare each server with the first one in
the same round. The vectors of a few texts are compared with those of the first server: `agreement`
is the smallest cosine. Other names in commands are filled in as compare.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from connection import Address, Connection
from process import usage_of
from report import format_table
from server import Server, Values, add_server_options, measure_in_turn, started
from words import WORDS

NUM_COMPARED = 32

Vector = list[float]


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds of the wall and of the server's processors."""

    num_inputs: int
    num_tokens: int
    seconds: float
    cpu_seconds: float | None
    peak_mib: float | None
    vectors: tuple[Vector, ...] = field(repr=False)
    """Of the first texts."""

    @property
    def inputs_per_second(self) -> float:
        return self.num_inputs / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every server gets."""

    num_inputs: int
    num_clients: int
    num_requests: int
    min_words: int
    max_words: int

    def texts(self, seed: int) -> list[str]:
        """Of one call."""
        draw = random.Random(seed)
        return [
            " ".join(draw.choices(WORDS, k=draw.randint(self.min_words, self.max_words)))
            for _ in range(self.num_inputs)
        ]


async def embed(connection: Connection, texts: Sequence[str]) -> dict[str, Any]:
    """RuntimeError where the call is not answered."""
    body = json.dumps({"model": "default", "input": texts}).encode()
    try:
        response = await connection.request("POST", "/v1/embeddings", body)
        content = await response.read()
    except (OSError, EOFError) as error:
        raise RuntimeError(f"a call was not answered: {error!r}") from error
    if response.status != 200:
        raise RuntimeError(f"status {response.status}: {content[:300].decode('utf-8', 'replace')}")
    answer: dict[str, Any] = json.loads(content)
    if len(answer["data"]) != len(texts):
        raise RuntimeError(f"{len(answer['data'])} vectors for {len(texts)} texts")
    return answer


async def run_client(address: Address, work: Work, seed: int) -> list[dict[str, Any]]:
    connection = Connection(address)
    try:
        return [
            await embed(connection, work.texts(seed + number))
            for number in range(work.num_requests)
        ]
    finally:
        await connection.close()


async def measure(address: Address, work: Work, seed: int, pid: int) -> Result:
    """Put the work on a server; the first call, which warms it up, does not count."""
    connection = Connection(address)
    await embed(connection, [WORDS[0]])
    await connection.close()
    before = usage_of(pid)
    begun = time.monotonic()
    answers = await asyncio.gather(
        *(run_client(address, work, seed + 1000 * number) for number in range(work.num_clients))
    )
    seconds = time.monotonic() - begun
    after = usage_of(pid)
    every = [answer for client in answers for answer in client]
    return Result(
        num_inputs=sum(len(answer["data"]) for answer in every),
        num_tokens=sum(answer["usage"]["prompt_tokens"] for answer in every),
        seconds=seconds,
        cpu_seconds=after.cpu_seconds - before.cpu_seconds if before and after else None,
        peak_mib=after.peak_mib if after else None,
        vectors=tuple(each["embedding"] for each in every[0]["data"][:NUM_COMPARED]),
    )


def cosine(first: Vector, second: Vector) -> float:
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / (math.hypot(*first) * math.hypot(*second))


def agreement(result: Result, base: Result) -> float:
    """The smallest cosine between what two servers make of the same text."""
    return min(map(cosine, result.vectors, base.vectors))


def format_comparison(results: dict[str, list[Result]]) -> str:
    """Medians of each server, then its ratios to the first one, round by round."""
    names = list(results)
    rows = [
        ("inputs per round", *(str(results[name][0].num_inputs) for name in names)),
        ("tokens per round", *(str(results[name][0].num_tokens) for name in names)),
        *(
            (label, *(_median(getattr(each, metric) for each in results[n]) for n in names))
            for metric, label in (
                ("inputs_per_second", "inputs/s"),
                ("tokens_per_second", "tokens/s"),
                ("cpu_seconds", "server CPU, s"),
                ("peak_mib", "server peak RSS, MiB"),
            )
        ),
    ]
    text = format_table(("median", *names), rows)
    base = results[names[0]]
    for name in names[1:]:
        pairs = list(zip(results[name], base, strict=True))
        found = {
            "inputs/s": [a.inputs_per_second / b.inputs_per_second for a, b in pairs],
            "server CPU": [
                a.cpu_seconds / b.cpu_seconds for a, b in pairs if a.cpu_seconds and b.cpu_seconds
            ],
            "agreement": [agreement(a, b) for a, b in pairs],
        }
        table = [
            (label, f"{statistics.median(ratios):.4f}", " ".join(f"{r:.4f}" for r in ratios))
            for label, ratios in found.items()
            if ratios
        ]
        text += "\n\n" + format_table((f"{name} / {names[0]}", "median", "rounds"), table)
    return text


def _median(values: Any) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f}" if known else "-"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_server_options(parser, context=512)
    parser.add_argument("--inputs", type=int, default=2048, help="texts of one call")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1, help="calls of each client")
    parser.add_argument("--min-words", type=int, default=5)
    parser.add_argument("--max-words", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    work = Work(
        num_inputs=options.inputs,
        num_clients=options.clients,
        num_requests=options.requests,
        min_words=options.min_words,
        max_words=options.max_words,
    )

    def run(server: Server, values: Values, folder: Path, number: int) -> Result:
        with started(server, values, folder) as live:
            # Other texts in each round, the same ones for every server.
            seed = options.seed + 1_000_000 * number
            return asyncio.run(measure(live.address, work, seed, live.pid))

    try:
        results = measure_in_turn(options, run)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({name: [asdict(r) for r in found] for name, found in results.items()}))
    else:
        print(format_comparison(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
