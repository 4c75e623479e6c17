"""What an idle prefix costs: kept in the model's memory, and parked outside of it.

    python benchmarks/idle_cells.py MODEL [--cells 4000] [--rounds 3] [--threads N] [--json]

Decodes one sequence beside the cells of another and without them, in turn, and times saving and
restoring those cells. From these comes llmd.engine.kv_cache.PARK_AFTER: the steps after which cells
that stay have cost the others as much as parking them and bringing them back.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

from llmd.llama.batch import LlamaBatch
from llmd.llama.context import ContextParams, DecodeStatus, LlamaContext
from llmd.llama.model import LlamaModel

T = TypeVar("T")

OWN, FOREIGN = 0, 1
STEPS = 48
CHUNK = 512
TOKEN = 100


@dataclass(frozen=True, slots=True)
class Result:
    """Milliseconds, and microseconds for each cell."""

    num_cells: int
    step_alone_ms: float
    step_beside_ms: float
    step_us_per_cell: float
    save_us_per_cell: float
    restore_us_per_cell: float
    compute_us_per_cell: float
    steps_that_parking_is_worth: float


class Bench:
    """One context with room for both sequences."""

    def __init__(self, model: LlamaModel, num_cells: int, num_threads: int) -> None:
        params = ContextParams(
            num_cells=num_cells + 2048,
            num_sequences=2,
            max_rows=2,
            batch_size=CHUNK,
            ubatch_size=CHUNK,
            num_threads=num_threads,
            num_threads_batch=num_threads,
        )
        self.context = LlamaContext(model, params)
        self._batch = LlamaBatch(CHUNK)
        self._position = 0

    def read(self, sequence_id: int, num_tokens: int) -> None:
        """Compute a prompt."""
        for start in range(0, num_tokens, CHUNK):
            self._decode(sequence_id, start, min(CHUNK, num_tokens - start))

    def step(self) -> float:
        """Seconds of one more token of our own sequence."""
        _, seconds = timed(lambda: self._decode(OWN, self._position, 1))
        self._position += 1
        return seconds

    def _decode(self, sequence_id: int, start: int, num_tokens: int) -> None:
        self._batch.clear()
        self._batch.add(sequence_id, start, [TOKEN] * num_tokens, 1)
        if self.context.decode(self._batch, 1) is not DecodeStatus.OK:
            raise SystemExit("idle_cells: llama.cpp failed to decode")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and the seconds it takes."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def measure(bench: Bench, num_cells: int, num_rounds: int) -> Result:
    _, compute = timed(lambda: bench.read(FOREIGN, num_cells))
    alone: list[float] = []
    beside: list[float] = []
    saves: list[float] = []
    restores: list[float] = []
    for _ in range(num_rounds):
        beside.append(median(bench.step() for _ in range(STEPS)))
        span, seconds = timed(lambda: bench.context.save_span(FOREIGN))
        saves.append(seconds)
        checkpoint = bench.context.save_checkpoint(FOREIGN)
        bench.context.truncate(FOREIGN, 0)
        alone.append(median(bench.step() for _ in range(STEPS)))
        is_restored, seconds = timed(partial(bench.context.restore_span, FOREIGN, span, checkpoint))
        if not is_restored:
            raise SystemExit("idle_cells: llama.cpp refused the state")
        restores.append(seconds)
    per_step = (median(beside) - median(alone)) / num_cells * 1e6
    save, restore = (median(each) / num_cells * 1e6 for each in (saves, restores))
    return Result(
        num_cells=num_cells,
        step_alone_ms=median(alone) * 1e3,
        step_beside_ms=median(beside) * 1e3,
        step_us_per_cell=per_step,
        save_us_per_cell=save,
        restore_us_per_cell=restore,
        compute_us_per_cell=compute / num_cells * 1e6,
        steps_that_parking_is_worth=(save + restore) / per_step,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--cells", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = LlamaModel(options.model)
    bench = Bench(model, options.cells, options.threads)
    result = measure(bench, options.cells, options.rounds)
    bench.context.free()
    model.free()
    if options.json:
        print(json.dumps(asdict(result)))
    else:
        for name, value in asdict(result).items():
            print(f"{name.replace('_', ' '):30}{value:10.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
