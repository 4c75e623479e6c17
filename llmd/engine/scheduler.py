"""Who computes what in the next step. Pure bookkeeping: it knows no model and no clock.

Rule 1. There are no phases: a sequence has known tokens and computed tokens, and a step computes
        some of the difference (vLLM v1's rule). A generating sequence is one token behind.
Rule 2. Every generating sequence is in every step; prompts share what is left of the step's token
        budget, oldest first.
Rule 3. A sequence is admitted when its tokens, and some room to grow, are free besides what the
        running ones still need. First come, first served: a long prompt is not overtaken.
Rule 4. When cells run out all the same, the youngest running sequence is set back: it gives its
        cells up and waits to be computed again. Nobody else notices. The oldest can always finish,
        as one sequence at its longest fits the pool.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

from llmd.engine.batch import Batch, BatchItem
from llmd.engine.sequence import Sequence

GROWTH_ROOM = 64
"""Cells kept free for each sequence's coming output on admission, so that a sequence set back is
not admitted only to be set back again at once."""

MAX_SCORED_TOKENS = 32
"""Most prompt tokens of one step, over all sequences, whose logprobs are wanted: each needs a row
of logits, which has one float per token of the vocabulary."""


class Scheduler:
    """Waiting and running sequences. Engine thread only."""

    def __init__(self, *, num_cells: int, num_sequences: int, max_step_tokens: int) -> None:
        """`num_cells` tokens of KV cache for at most `num_sequences` sequences at a time.
        `max_step_tokens` is the most tokens of one step, at least `num_sequences`. A step asks for
        at most `num_sequences` + MAX_SCORED_TOKENS rows of logits.
        """
        assert max_step_tokens >= num_sequences
        self.num_cells = num_cells
        self._max_step_tokens = max_step_tokens
        # A stack with the lowest id on top, so that a quiet daemon stays in the front of the cache.
        self._free_ids = list(range(num_sequences - 1, -1, -1))
        self._dropped_ids: list[int] = []
        self.waiting: list[Sequence] = []
        """By arrival, oldest first."""
        self.running: list[Sequence] = []
        """By arrival, oldest first."""
        self.num_set_back = 0

    @property
    def num_free_cells(self) -> int:
        return self.num_cells - sum(sequence.num_computed for sequence in self.running)

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequences: Iterable[Sequence]) -> None:
        for sequence in sequences:
            self._enqueue(sequence)

    def schedule(self) -> Batch:
        """The next step's plan; empty only when idle. Whoever computes an item then moves its
        sequence's `num_computed` on.
        """
        self._admit()
        items = self._plan_generating()
        num_cells = self.num_free_cells - len(items)
        items += self._plan_prompts(self._max_step_tokens - len(items), num_cells)
        return tuple(items)

    def set_back_youngest(self) -> Sequence:
        """Take the cells of the youngest running sequence and let it wait; returns it."""
        sequence = self.running[-1]
        self._release(sequence)
        self.running.pop()
        self._enqueue(sequence)
        self.num_set_back += 1
        return sequence

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is."""
        if sequence in self.running:
            self._release(sequence)
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self.running or sequence in self.waiting

    def sequences(self) -> list[Sequence]:
        """All of them, running ones first."""
        return [*self.running, *self.waiting]

    def take_dropped_ids(self) -> list[int]:
        """Sequence ids whose memory must be cleared before the next decode; asked for once."""
        dropped, self._dropped_ids = self._dropped_ids, []
        return dropped

    def _enqueue(self, sequence: Sequence) -> None:
        insort(self.waiting, sequence, key=lambda waiting: waiting.arrival)

    def _admit(self) -> None:
        num_reserved = sum(s.num_pending + _growth_room(s) for s in self.running)
        num_free = self.num_free_cells
        while self.waiting and self._free_ids:
            sequence = self.waiting[0]
            num_needed = sequence.num_tokens + _growth_room(sequence)
            if self.running and num_free - num_reserved < num_needed:
                return
            num_reserved += num_needed
            self.waiting.pop(0)
            sequence.sequence_id = self._free_ids.pop()
            insort(self.running, sequence, key=lambda running: running.arrival)

    def _plan_generating(self) -> list[BatchItem]:
        generating = [s for s in self.running if s.num_pending == 1]
        while len(generating) > self.num_free_cells:
            victim = self.set_back_youngest()
            if victim in generating:
                generating.remove(victim)
        return [_plan(sequence, 1) for sequence in generating]

    def _plan_prompts(self, num_tokens: int, num_cells: int) -> list[BatchItem]:
        items = []
        num_scored = MAX_SCORED_TOKENS
        for sequence in self.running:
            if sequence.num_pending == 1:
                continue
            share = min(sequence.num_pending, num_tokens, num_cells)
            if _is_scored(sequence):
                share = min(share, num_scored)
                num_scored -= share
            if share > 0:
                items.append(_plan(sequence, share))
                num_tokens -= share
                num_cells -= share
        return items

    def _release(self, sequence: Sequence) -> None:
        assert sequence.sequence_id is not None
        insort(self._free_ids, sequence.sequence_id, key=lambda free: -free)
        self._dropped_ids.append(sequence.sequence_id)
        sequence.sequence_id = None
        sequence.num_computed = 0


def _plan(sequence: Sequence, num_tokens: int) -> BatchItem:
    start = sequence.num_computed
    reaches_end = start + num_tokens == sequence.num_tokens
    num_logits = num_tokens if _is_scored(sequence) else int(reaches_end)
    return BatchItem(sequence, start, num_tokens, num_logits)


def _is_scored(sequence: Sequence) -> bool:
    return sequence.request.prompt_logprobs and sequence.num_computed < sequence.num_prompt


def _growth_room(sequence: Sequence) -> int:
    return min(GROWTH_ROOM, sequence.max_tokens - sequence.num_generated)
