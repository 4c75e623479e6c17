"""A model small enough to reason about, for tests of what stands above it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from llmd.core.sampling import SamplingParams
from llmd.engine.batch import Batch
from llmd.engine.engine import Engine
from llmd.engine.request import Request
from llmd.engine.runner import DecodeFailed, NoRoom
from llmd.engine.scheduler import MAX_SCORED_TOKENS, Scheduler

END = 256
"""The end-of-generation token; the others are the bytes."""

VOCABULARY_SIZE = 257
GREEDY = SamplingParams(temperature=0)


class FakeVocabulary:
    end_of_generation_ids = frozenset({END})
    suppressed_ids: tuple[int, ...] = ()

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id == END else bytes([token_id])


def next_token(tokens: list[int]) -> int:
    """What the fake model says after `tokens`: an ASCII letter that depends on all of them."""
    return ord("a") + zlib.crc32(repr(tokens).encode()) % 26


def continuation(prompt: str, num_tokens: int) -> str:
    """What a sequence generates when it is alone."""
    tokens = list(prompt.encode())
    for _ in range(num_tokens):
        tokens.append(next_token(tokens))
    return bytes(tokens[len(prompt.encode()) :]).decode()


class FakeRunner:
    """A model with real bookkeeping: it remembers every sequence's tokens and refuses a batch that
    does not continue them or that does not fit.
    """

    def __init__(self, num_cells: int, choose: Callable[[list[int]], int] = next_token) -> None:
        self.num_cells = num_cells
        self.memory: dict[int, list[int]] = {}
        self.batches: list[Batch] = []
        self.max_batch_tokens: int | None = None
        """More tokens than this in one batch find no room, as in fragmented memory."""
        self.poison: int | None = None
        """A token on which computing fails."""
        self.is_recurrent = False
        self.is_closed = False
        self._choose = choose

    @property
    def num_used(self) -> int:
        return sum(map(len, self.memory.values()))

    def forward(self, batch: Batch) -> list[NDArray[np.float32]]:
        num_tokens = sum(item.num_tokens for item in batch)
        if self.max_batch_tokens is not None and num_tokens > self.max_batch_tokens:
            raise NoRoom
        assert self.num_used + num_tokens <= self.num_cells, "more tokens than cells"
        num_rows = sum(item.num_logits for item in batch)
        assert num_rows <= len(batch) + MAX_SCORED_TOKENS, "more rows than llama.cpp has room for"
        self.batches.append(batch)
        rows = []
        for item in batch:
            assert item.sequence.sequence_id is not None
            memory = self.memory.setdefault(item.sequence.sequence_id, [])
            assert len(memory) == item.start, "not a continuation of what is in memory"
            for position in range(item.start, item.end):
                memory.append(item.sequence.tokens[position])
                if memory[-1] == self.poison:
                    raise DecodeFailed
                if position >= item.end - item.num_logits:
                    rows.append(self._row(memory))
        return rows

    def truncate(self, sequence_id: int, num_tokens: int) -> bool:
        memory = self.memory.get(sequence_id, [])
        if self.is_recurrent and 0 < num_tokens < len(memory):
            return False
        del memory[num_tokens:]
        return True

    def close(self) -> None:
        self.is_closed = True

    def _row(self, memory: list[int]) -> NDArray[np.float32]:
        row = np.zeros(VOCABULARY_SIZE, dtype=np.float32)
        row[self._choose(memory)] = 10
        return row


def fake_engine(
    runner: FakeRunner, *, num_sequences: int = 4, max_step_tokens: int = 16, context_size: int = 64
) -> Engine:
    ticks = iter(range(1 << 30))
    return Engine(
        runner,
        Scheduler(
            num_cells=runner.num_cells,
            num_sequences=num_sequences,
            max_step_tokens=max_step_tokens,
        ),
        FakeVocabulary(),
        _no_chain,
        context_size=context_size,
        clock=lambda: float(next(ticks)),
    )


def _no_chain(params: SamplingParams, seed: int) -> NoReturn:
    raise AssertionError("greedy sequences need no chain")


def fake_request(id: str, *prompts: str, **fields: object) -> Request:
    values: dict[str, object] = {
        "id": id,
        "prompts": tuple(tuple(prompt.encode()) for prompt in prompts),
        "sampling": GREEDY,
        "seed": 0,
        "max_tokens": 8,
        **fields,
    }
    return Request(**values)  # type: ignore[arg-type]
