"""What a model really takes, against what was estimated before it was loaded.

    python benchmarks/memory.py MODEL [--set kv_tokens=8192] [--set parallel=4] ...

A child process loads MODEL with these settings, as `llmd serve` would, lets it compute until its
whole pool is in use, and reads from Linux's /proc what it has grown by (proc_pid_status(5)). Of a
mapped file, what llama.cpp has copied into a layout of its own counts once: the kernel takes the
file's pages back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from llmd.config.settings import ModelSettings
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.engine.opening import ModelOpening, OpenedModel, OpenedPoolingModel
from llmd.llama import library
from llmd.llama.batch import LlamaBatch
from llmd.llama.context import DecodeStatus
from llmd.store.model_file import read_model_file

TOKEN = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes, but for the first."""

    num_cells: int
    weights: int
    cache: int
    compute: int
    other: int
    estimated: int
    anonymous: int
    """Memory of its own."""
    mapped: int
    """Pages of files, the model's above all."""
    copied: int
    """Of these, what lies in `anonymous` once more."""

    @property
    def taken(self) -> int:
        return self.anonymous + self.mapped - self.copied

    @property
    def error(self) -> float:
        """By how much the estimate is above what was taken; below 0 where it is under it."""
        return self.estimated / self.taken - 1


class _CopiedWeights(logging.Handler):
    """Adds up the buffers of weights that llama.cpp lays out anew (ggml-cpu/repack.cpp)."""

    _LINE = re.compile(r"CPU_REPACK model buffer size = +([\d.]+) MiB")

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        match = self._LINE.search(record.getMessage())
        if match:
            self.num_bytes += int(float(match[1]) * 2**20)


def measure(model: Path, settings: Mapping[str, object]) -> Measured:
    """In a child process, as memory that was once taken is not all given back."""
    command = [sys.executable, __file__, "--child", str(model), json.dumps(settings)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(answer.stdout))


def measure_here(path: Path, settings: ModelSettings) -> Measured:
    """In this process, which should have done nothing else."""
    copied = _CopiedWeights()
    log = logging.getLogger("llmd.llama")
    log.addHandler(copied)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    library.initialize()
    before = _resident()
    opened = ModelOpening(read_model_file(path), settings, Memory.now(), lambda _: True).open()
    if isinstance(opened, OpenedPoolingModel):
        num_cells = _read_longest_text(opened)
    else:
        num_cells = _fill_pool(opened)
    after = _resident()
    return _compare(opened.plan.estimate, num_cells, before, after, copied.num_bytes)


def _fill_pool(opened: OpenedModel) -> int:
    """As many steps as there is room for."""
    plan, context = opened.plan, opened.context
    # What the engine has read of the vocabulary before the first request.
    _ = opened.model.tokenizer.control_texts, opened.model.tokenizer.marker_texts
    batch = LlamaBatch(plan.params.batch_size)
    position = sequence_id = 0
    left = context.num_cells
    while left and sequence_id < plan.num_sequences:
        length = min(left, plan.params.batch_size, plan.context_size - position)
        batch.clear()
        batch.add(sequence_id, position, [TOKEN] * length, min(length, plan.params.max_rows))
        if context.decode(batch, 1) is not DecodeStatus.OK:
            raise RuntimeError(f"a step failed with {left} cells left")
        left, position = left - length, position + length
        if position == plan.context_size:
            sequence_id, position = sequence_id + 1, 0
    return context.num_cells - left


def _read_longest_text(opened: OpenedPoolingModel) -> int:
    length = opened.plan.params.batch_size
    batch = LlamaBatch(length)
    batch.add(0, 0, [TOKEN] * length, length)
    if opened.context.decode(batch) is not DecodeStatus.OK:
        raise RuntimeError(f"a text of {length} tokens failed")
    return length


def _resident() -> tuple[int, int]:
    """Anonymous memory, and pages of files."""
    status = Path("/proc/self/status").read_text()
    kinds = [re.search(rf"^{kind}:\s+(\d+) kB", status, re.M) for kind in ("RssAnon", "RssFile")]
    anonymous, mapped = (int(match[1]) * 1024 if match else 0 for match in kinds)
    return anonymous, mapped


def _compare(
    estimate: MemoryEstimate,
    num_cells: int,
    before: tuple[int, int],
    after: tuple[int, int],
    copied: int,
) -> Measured:
    return Measured(
        num_cells,
        estimate.weights,
        estimate.cache,
        estimate.compute,
        estimate.other,
        estimate.total,
        after[0] - before[0],
        after[1] - before[1],
        copied,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare estimated and real memory.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settings = dict(pair.split("=", 1) for pair in options.settings)
    measured = measure(options.model, settings)
    if options.json:
        print(json.dumps(asdict(measured)))
        return 0
    for name, size in asdict(measured).items():
        print(f"{name:>10}  {size}" if name == "num_cells" else f"{name:>10}  {size / 2**20:,.1f}")
    print(
        f"{'taken':>10}  {measured.taken / 2**20:,.1f} MiB; the estimate is {measured.error:+.1%}"
    )
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        here = measure_here(Path(sys.argv[2]), ModelSettings(**json.loads(sys.argv[3])))
        print(json.dumps(asdict(here)))
    else:
        sys.exit(main())
