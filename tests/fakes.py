"""A model small enough to reason about, for tests of what stands above it."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from llmd.core.sampling import SamplingParams
from llmd.engine.batch import Batch, BatchItem
from llmd.engine.engine import Engine
from llmd.engine.kv_cache import KVCache
from llmd.engine.pacing import Pacer
from llmd.engine.parking import Parking
from llmd.engine.request import Request
from llmd.engine.runner import DecodeFailed, NoRoom
from llmd.engine.scheduler import MAX_SCORED_TOKENS, Scheduler
from llmd.llama.context import MemoryTraits, State

END = 256
"""The end-of-generation token; the others are the bytes."""

VOCABULARY_SIZE = 257
GREEDY = SamplingParams(temperature=0)


class FakeVocabulary:
    end_of_generation_ids = frozenset({END})
    suppressed_ids: tuple[int, ...] = ()

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id == END else bytes([token_id])

    def all_bytes(self) -> list[bytes]:
        return [self.token_bytes(token_id) for token_id in range(VOCABULARY_SIZE)]

    def encode_inside(self, text: str, *, parse_special: bool) -> list[int]:
        return list(text.encode())


def next_token(tokens: list[int]) -> int:
    """What the fake model says after `tokens`: an ASCII letter that depends on all of them."""
    return ord("a") + zlib.crc32(repr(tokens).encode()) % 26


def continuation(prompt: str, num_tokens: int) -> str:
    """What a sequence generates when it is alone."""
    tokens = list(prompt.encode())
    for _ in range(num_tokens):
        tokens.append(next_token(tokens))
    return bytes(tokens[len(prompt.encode()) :]).decode()


@dataclass(eq=False, slots=True)
class Cell:
    """One token's place in the fake memory; sequences that share it hold the same object."""

    position: int
    token: int
    num_holders: int = 0


ATTENTION = MemoryTraits(cuts=True, has_cells=True, has_window=False)
HYBRID = MemoryTraits(cuts=False, has_cells=True, has_window=False)
RECURRENT = MemoryTraits(cuts=False, has_cells=False, has_window=False)


class FakeRunner:
    """A model with real bookkeeping: it knows which cells every sequence id holds, and its
    recurrent state where it has one, and refuses a batch that does not continue what is there, or
    that does not fit.
    """

    def __init__(
        self,
        num_cells: int,
        choose: Callable[[list[int]], int] = next_token,
        memory: MemoryTraits = ATTENTION,
    ) -> None:
        self.num_cells = num_cells
        self.memory = memory
        self.cells: dict[int, dict[int, Cell]] = defaultdict(dict)
        self.states: dict[int, list[int]] = defaultdict(list)
        """Recurrent state: all tokens so far, as a model that forgets nothing would have it."""
        self.batches: list[Batch] = []
        self.num_computed = 0
        self.num_used = 0
        """Cells that anybody holds."""
        self.max_batch_tokens: int | None = None
        """More tokens than this in one batch find no room, as in fragmented memory."""
        self.poison: int | None = None
        """A token on which computing fails."""
        self.is_closed = False
        self._choose = choose

    def forward(self, batch: Batch) -> list[NDArray[np.float32]]:
        num_tokens = sum(item.num_tokens for item in batch)
        if self.max_batch_tokens is not None and num_tokens > self.max_batch_tokens:
            raise NoRoom
        if self.memory.has_cells:
            assert self.num_used + num_tokens <= self.num_cells, "more tokens than cells"
        num_rows = sum(item.num_logits for item in batch)
        assert num_rows <= len(batch) + MAX_SCORED_TOKENS, "more rows than llama.cpp has room for"
        self.batches.append(batch)
        return [row for item in batch for row in self._compute(item)]

    def truncate(self, sequence_id: int, num_tokens: int) -> bool:
        held, state = self.cells[sequence_id], self.states[sequence_id]
        if not self.memory.cuts and 0 < num_tokens < len(state):
            return False
        for position in [position for position in held if position >= num_tokens]:
            cell = held.pop(position)
            cell.num_holders -= 1
            self.num_used -= not cell.num_holders
        if num_tokens < len(state):
            state.clear()
        return True

    def share(self, source_id: int, target_id: int, start: int, end: int) -> None:
        assert source_id != target_id
        for position, cell in self.cells[source_id].items():
            if start <= position < end:
                assert position not in self.cells[target_id], "two cells for one position"
                self._hold(target_id, cell)
        self.states[target_id] = list(self.states[source_id])

    def save_span(self, sequence_id: int) -> State:
        held = self.cells[sequence_id].values()
        return _packed([[cell.position, cell.token] for cell in held])

    def restore_span(self, sequence_id: int, span: State, checkpoint: State) -> bool:
        self.truncate(sequence_id, 0)
        cells = orjson.loads(span.tobytes())
        if self.num_used + len(cells) > self.num_cells:
            return False
        for position, token in cells:
            self._hold(sequence_id, Cell(position, token))
        return self.restore_checkpoint(sequence_id, checkpoint) if len(checkpoint) else True

    def save_checkpoint(self, sequence_id: int) -> State:
        return _packed(self.states[sequence_id])

    def restore_checkpoint(self, sequence_id: int, checkpoint: State) -> bool:
        self.states[sequence_id] = orjson.loads(checkpoint.tobytes())
        return True

    def end_exact(self) -> None:
        """Deterministic sequences use the same cells here."""

    def close(self) -> None:
        self.is_closed = True

    def held(self, sequence_id: int) -> list[int]:
        """The tokens of a sequence, which must have one cell for each position."""
        cells = self.cells[sequence_id]
        return [cells[position].token for position in range(len(cells))]

    def _hold(self, sequence_id: int, cell: Cell) -> None:
        self.cells[sequence_id][cell.position] = cell
        self.num_used += not cell.num_holders
        cell.num_holders += 1

    def _compute(self, item: BatchItem) -> Iterator[NDArray[np.float32]]:
        sequence_id, tokens = item.sequence.sequence_id, item.sequence.tokens
        assert sequence_id is not None
        if self.memory.has_cells and (item.num_tokens > 1 or item.start % 16 == 0):
            assert self.held(sequence_id) == tokens[: item.start], "the memory of another text"
        if not self.memory.cuts:
            assert self.states[sequence_id] == tokens[: item.start], "the state of another text"
        for position in range(item.start, item.end):
            token = tokens[position]
            if self.memory.has_cells:
                self._hold(sequence_id, Cell(position, token))
            if not self.memory.cuts:
                self.states[sequence_id].append(token)
            if token == self.poison:
                raise DecodeFailed
            self.num_computed += 1
            if position >= item.end - item.num_logits:
                yield self._row(tokens[: position + 1])

    def _row(self, tokens: list[int]) -> NDArray[np.float32]:
        row = np.zeros(VOCABULARY_SIZE, dtype=np.float32)
        row[self._choose(tokens)] = 10
        return row


def _packed(value: object) -> State:
    return np.frombuffer(orjson.dumps(value), np.uint8)


def fake_engine(
    runner: FakeRunner,
    *,
    num_sequences: int = 4,
    num_keepers: int = 8,
    max_step_tokens: int = 16,
    context_size: int = 64,
    cache_ram: int = 0,
    max_gap_seconds: float = 0,
) -> Engine:
    """An engine whose clock moves one second with every look at it."""
    ticks = iter(range(1 << 30))

    def clock() -> float:
        return float(next(ticks))

    cache = KVCache(
        runner,
        Parking(cache_ram, clock=clock),
        num_cells=runner.num_cells,
        num_ids=num_sequences + num_keepers,
        clock=clock,
    )
    pacer = Pacer(max_step_tokens, max_gap_seconds)
    scheduler = Scheduler(
        cache, pacer, num_sequences=num_sequences, max_step_tokens=max_step_tokens
    )
    return Engine(
        runner,
        cache,
        pacer,
        scheduler,
        FakeVocabulary(),
        _no_chain,
        context_size=context_size,
        clock=clock,
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
