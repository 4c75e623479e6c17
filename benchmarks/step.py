"""How much of a full step is spent outside llama_decode: what llmd itself costs.

    python benchmarks/step.py MODEL [--sequences 1 4 16] [--tokens 64] [--temperature 0.7] [--json]

Runs the real engine thread with its client on an event loop, all sequences at once, and times
every llama_decode from inside. What is left of the wall time between the first and the last decode
is scheduling, sampling, text, and handing over to the loop, waits for the GIL included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import llama_cpp

from llmd.config.settings import ModelSettings
from llmd.core.sampling import SamplingParams
from llmd.daemon.server import SWITCH_INTERVAL
from llmd.engine.client import EngineClient
from llmd.engine.loading import load_engine
from llmd.engine.request import Request

PROMPT_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Measurement:
    """Of the steps in which all sequences generate; seconds."""

    num_sequences: int
    num_steps: int
    tokens_per_second: float
    step_ms: float
    outside_ms: float
    outside_share: float


class DecodeClock:
    """Times every llama_decode, by standing in for it in the bindings."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        self.thread_seconds = 0.0
        """Processor time that the calling thread spent in them."""
        self._decode = llama_cpp.llama_decode
        llama_cpp.llama_decode = self._timed

    def stop(self) -> None:
        llama_cpp.llama_decode = self._decode

    def _timed(self, context: Any, batch: Any) -> Any:
        started, thread_started = time.perf_counter(), time.thread_time()
        result = self._decode(context, batch)
        self.thread_seconds += time.thread_time() - thread_started
        self.spans.append((started, time.perf_counter()))
        return result


async def drain(client: EngineClient, request: Request) -> None:
    async for _ in client.submit(request):
        pass


async def measure(
    client: EngineClient,
    clock: DecodeClock,
    options: argparse.Namespace,
    num_sequences: int,
) -> Measurement:
    sampling = SamplingParams(temperature=options.temperature)
    clock.spans.clear()
    requests = [
        Request(
            id=f"{num_sequences}-{number}",
            prompts=(tuple(range(1000 + number, 1000 + number + PROMPT_TOKENS)),),
            sampling=sampling,
            seed=number,
            max_tokens=options.tokens,
        )
        for number in range(num_sequences)
    ]
    await asyncio.gather(*(drain(client, request) for request in requests))
    # The first steps read prompts; the tail may run with fewer sequences.
    spans = clock.spans[4 : options.tokens - 2]
    wall = spans[-1][1] - spans[0][0]
    inside = sum(end - start for start, end in spans)
    num_gaps = len(spans) - 1
    return Measurement(
        num_sequences=num_sequences,
        num_steps=len(spans),
        tokens_per_second=num_sequences * num_gaps / (spans[-1][0] - spans[0][0]),
        step_ms=wall / len(spans) * 1e3,
        outside_ms=(wall - inside) / num_gaps * 1e3,
        outside_share=(wall - inside) / wall,
    )


async def run(options: argparse.Namespace) -> list[Measurement]:
    settings = ModelSettings(
        source=str(options.model), ctx_size=2048, kv_tokens=8192, threads=options.threads
    )
    clock = DecodeClock()
    client = EngineClient(
        lambda: load_engine(options.model, settings, lambda _: True), max_queue=settings.max_queue
    )
    await client.start()
    try:
        await measure(client, clock, options, 1)  # warm-up
        return [await measure(client, clock, options, n) for n in options.sequences]
    finally:
        await client.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL)
    rows = asyncio.run(run(options))
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    print("sequences  tokens/s   step ms  outside ms  outside share")
    for row in rows:
        print(
            f"{row.num_sequences:9}  {row.tokens_per_second:8.1f}  {row.step_ms:8.2f}  "
            f"{row.outside_ms:10.3f}  {row.outside_share:12.2%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
