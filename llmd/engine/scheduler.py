"""Who computes what in the next step. It knows no clock, and of the model only the cache.

Rule 1. There are no phases: a sequence has known tokens and computed tokens, and a step computes
        some of the difference (vLLM v1's rule). A generating sequence is one token behind, or as
        many as its grammar left no choice about.
Rule 2. Every generating sequence is in every step, with as many tokens as each of them has to
        compute before any can draw its next one. Prompts share what the pacer leaves of the step,
        the first of each tenant first; what single sequences are further behind comes before the
        prompts, with at most half of that.
Rule 3. A sequence is admitted when its tokens, and some room to grow, are free or idle besides
        what the running ones still need. Who is first in line is not overtaken, unless it waits
        for a running one that computes what it begins with.
Rule 4. When cells run out all the same, idle prefixes go; then the youngest running sequence is
        set back: it gives its cells up and waits to be computed again. Nobody else notices. The
        oldest can always finish, as one sequence at its longest fits the pool.
Rule 5. A deterministic sequence has steps of its own, in turn with everybody else's; one runs at a
        time.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

from llmd.engine.batch import Batch, BatchItem
from llmd.engine.kv_cache import KVCache
from llmd.engine.leader import follows, is_ahead
from llmd.engine.pacing import Pacer
from llmd.engine.sequence import Sequence
from llmd.engine.waiting import WaitingQueue, fair_order

GROWTH_ROOM = 64
"""Cells kept free for each sequence's coming output on admission, so that a sequence set back is
not admitted only to be set back again at once."""

MAX_SCORED_TOKENS = 32
"""Most prompt tokens of one step, over all sequences, whose logprobs are wanted: each needs a row
of logits, which has one float per token of the vocabulary."""


DETERMINISTIC_CHUNK = 128
"""Prompt tokens of each step of a deterministic sequence, whatever else there is to do."""


class Scheduler:
    """Waiting and running sequences. Engine thread only."""

    def __init__(
        self, cache: KVCache, pacer: Pacer, *, num_sequences: int, max_step_tokens: int
    ) -> None:
        """At most `num_sequences` run at a time. `max_step_tokens` is the most tokens of one step,
        at least `num_sequences`. A step asks for at most `num_sequences` + MAX_SCORED_TOKENS rows
        of logits.
        """
        assert max_step_tokens >= num_sequences
        self.waiting: WaitingQueue[Sequence] = WaitingQueue()
        self.running: list[Sequence] = []
        """By arrival, oldest first."""
        self.num_set_back = 0
        self._cache = cache
        self._pacer = pacer
        self._num_sequences = num_sequences
        self._max_step_tokens = max_step_tokens
        self._num_steps = 0

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def add(self, sequences: Iterable[Sequence]) -> None:
        for sequence in sequences:
            self.waiting.add(sequence)

    def schedule(self) -> Batch:
        """The next step's plan; empty only when idle. Whoever computes an item then moves its
        sequence's `num_computed` on.
        """
        self._admit()
        self._num_steps += 1
        alone = [sequence for sequence in self.running if sequence.request.deterministic]
        together = [sequence for sequence in self.running if not sequence.request.deterministic]
        turn = self._num_steps % (len(alone) + bool(together)) if alone else 0
        if turn < len(alone):
            return self._plan_alone(alone[turn])
        return self._plan_together(together)

    def set_back_youngest(self) -> Sequence:
        """Take the cells of the youngest running sequence and let it wait; returns it."""
        sequence = self.running.pop()
        self._cache.release(sequence)
        sequence.was_set_back = True
        self.waiting.add(sequence)
        self.num_set_back += 1
        return sequence

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it is."""
        if sequence in self.running:
            self._cache.release(sequence)
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self.running or sequence in self.waiting

    def sequences(self) -> list[Sequence]:
        """All of them, running ones first."""
        return [*self.running, *self.waiting]

    def _admit(self) -> None:
        cache = self._cache
        num_reserved = sum(s.num_pending + _growth_room(s) for s in self.running)
        for sequence in self.waiting.candidates():
            if len(self.running) == self._num_sequences:
                return
            if is_ahead(sequence, self.running) or self._must_be_alone(sequence):
                continue
            prefix = cache.find(sequence)
            if follows(sequence, self.running, prefix.length, cuts=cache.cuts):
                continue
            num_needed = sequence.num_tokens - prefix.num_live + _growth_room(sequence)
            num_free = cache.num_free_cells + cache.num_idle_cells - prefix.num_idle
            if self.running and num_free - num_reserved < num_needed:
                return
            self.waiting.admitted(sequence)
            cache.claim(sequence, prefix)
            num_reserved += sequence.num_pending + _growth_room(sequence)
            insort(self.running, sequence, key=lambda running: running.arrival)

    def _must_be_alone(self, sequence: Sequence) -> bool:
        """Of the deterministic ones, one runs at a time."""
        return sequence.request.deterministic and any(
            running.request.deterministic for running in self.running
        )

    def _plan_alone(self, sequence: Sequence) -> Batch:
        """Chunks of one size, from the first token on: nobody else's load shapes its sums."""
        chunk = MAX_SCORED_TOKENS if _is_scored(sequence) else DETERMINISTIC_CHUNK
        num_tokens = min(sequence.num_pending, self._max_step_tokens, chunk)
        while not self._cache.make_room(num_tokens):
            if self.set_back_youngest() is sequence:
                return self.schedule()
        return (_plan(sequence, num_tokens),)

    def _plan_together(self, running: list[Sequence]) -> Batch:
        generating = [sequence for sequence in running if sequence.is_generating]
        while not self._cache.make_room(len(generating)):
            victim = self.set_back_youngest()
            if victim in generating:
                generating.remove(victim)
        reading = [s for s in running if not s.is_generating and s.sequence_id is not None]
        num_each = self._num_each(generating, reading)
        more = self._share_rest(generating, reading, num_each)
        items = [_plan(sequence, num_each + more.pop(sequence, 0)) for sequence in generating]
        return (*items, *(_plan(sequence, share) for sequence, share in more.items() if share))

    def _num_each(self, generating: list[Sequence], reading: list[Sequence]) -> int:
        """How many tokens of every generating sequence a step computes: as many as each of them
        has to before any can draw its next one.
        """
        if all(sequence.num_pending > 1 for sequence in generating) and generating:
            most = self._max_step_tokens // (2 if reading else 1) // len(generating)
            num_each = min(most, min(sequence.num_pending for sequence in generating))
            self._cache.make_room(num_each * len(generating))
            return max(1, min(num_each, self._cache.num_free_cells // len(generating)))
        return 1

    def _share_rest(
        self, generating: list[Sequence], reading: list[Sequence], num_each: int
    ) -> dict[Sequence, int]:
        """How many tokens a step computes besides `num_each` for each generating sequence."""
        behind = [s for s in generating if s.num_pending > num_each == 1]
        num_taken = num_each * len(generating)
        num_wanted = _sum_pending(behind) - len(behind) + _sum_pending(reading)
        if not num_wanted:
            return {}
        num_tokens = min(
            self._pacer.prompt_budget(len(generating)), self._max_step_tokens - num_taken
        )
        self._cache.make_room(num_taken + min(num_tokens, num_wanted))
        num_tokens = min(num_tokens, self._cache.num_free_cells - num_taken)
        num_behind = num_tokens // 2 if reading else num_tokens
        shares = self._share_out(behind, num_behind, num_planned=1)
        shares |= self._share_out(fair_order(reading), num_tokens - sum(shares.values()))
        return shares

    def _share_out(
        self, sequences: list[Sequence], num_tokens: int, *, num_planned: int = 0
    ) -> dict[Sequence, int]:
        """How many tokens of each sequence a step computes beside the `num_planned`: the same for
        the first of every tenant, then in order what is left.
        """
        if not sequences:
            return {}
        firsts = {sequence.request.tenant: sequence for sequence in reversed(sequences)}.values()
        shares = dict.fromkeys(sequences, 0)
        num_scored = MAX_SCORED_TOKENS
        for group, portion in ((firsts, num_tokens // len(firsts)), (sequences, num_tokens)):
            for sequence in group:
                stop = self._cache.next_stop(sequence) - sequence.num_computed - num_planned
                more = min(stop - shares[sequence], portion, num_tokens)
                if _is_scored(sequence):
                    more = min(more, num_scored)
                    num_scored -= more
                shares[sequence] += more
                num_tokens -= more
        return shares


def _sum_pending(sequences: Iterable[Sequence]) -> int:
    return sum(sequence.num_pending for sequence in sequences)


def _plan(sequence: Sequence, num_tokens: int) -> BatchItem:
    start = sequence.num_computed
    reaches_end = start + num_tokens == sequence.num_tokens
    num_logits = num_tokens if _is_scored(sequence) else int(reaches_end)
    return BatchItem(sequence, start, num_tokens, num_logits)


def _is_scored(sequence: Sequence) -> bool:
    return sequence.request.prompt_logprobs and sequence.num_computed < sequence.num_prompt


def _growth_room(sequence: Sequence) -> int:
    return min(GROWTH_ROOM, sequence.max_tokens - sequence.num_generated)
