"""What comes next in one sequence."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from llmd.core.output import TokenLogprob
from llmd.engine.grammar import Constraint, ConstraintFailed
from llmd.engine.sampler import Sampler, Vocabulary
from llmd.engine.thought import ThoughtMeter
from llmd.llama.context import Row


class Continuation:
    """Draws one sequence's tokens within its constraint, and knows those that follow without a
    draw: what the grammar leaves no choice about (jump-forward), and what closes a thought whose
    budget is used up. Engine thread only; `free` gives the native sampler back.
    """

    def __init__(
        self,
        sampler: Sampler,
        vocabulary: Vocabulary,
        *,
        constraint: Constraint | None = None,
        meter: ThoughtMeter | None = None,
        jumps: bool = True,
        watched_ids: tuple[int, ...] = (),
    ) -> None:
        """Without `jumps` there is one token for each row of logits, as logprobs need it."""
        self._sampler = sampler
        self._vocabulary = vocabulary
        self._constraint = constraint
        self._meter = meter
        self._jumps = jumps
        self._watched_ids = watched_ids
        self._coming: deque[int] = deque()
        self._has_looked = False

    @property
    def num_thought_tokens(self) -> int:
        return 0 if self._meter is None else self._meter.num_tokens

    @property
    def is_complete(self) -> bool:
        """Whether the grammar lets nothing follow any more."""
        return self._constraint is not None and self._constraint.is_complete

    def accept_prompt(self, token_ids: Sequence[int]) -> None:
        """What stands before; penalties count it."""
        self._sampler.accept(token_ids)

    def tokens(self, row: Row) -> Iterator[int]:
        """The tokens that come next, as far as they are certain from the logits of the last one on:
        at least one. Each stands in the text when it is given out; ask no further when it ended
        the text. Raises SamplingFailed and ConstraintFailed.
        """
        if not self._has_looked:
            self._look_ahead()
        yield self._take_coming() if self._coming else self._draw(row)
        while self._jumps and self._coming:
            yield self._take_coming()

    def logprob(self, row: Row, token_id: int, num_top: int) -> TokenLogprob:
        """See Sampler."""
        return self._sampler.logprob(row, token_id, num_top, self._watched_ids)

    def free(self) -> None:
        """Idempotent."""
        self._sampler.free()

    def _draw(self, row: Row) -> int:
        token_id = self._sampler.sample(row, self._constraint)
        self._note(token_id)
        return token_id

    def _take_coming(self) -> int:
        token_id = self._coming.popleft()
        if self._constraint is not None and not self._constraint.accept(token_id):
            raise ConstraintFailed("it refuses what it left no choice about")
        self._sampler.accept((token_id,))
        self._note(token_id)
        return token_id

    def _note(self, token_id: int) -> None:
        if self._meter is not None:
            self._meter.feed(self._vocabulary.token_bytes(token_id))
        if token_id not in self._vocabulary.end_of_generation_ids:
            self._look_ahead()

    def _look_ahead(self) -> None:
        self._has_looked = True
        meter, constraint = self._meter, self._constraint
        if meter is not None and meter.wants_to_close:
            # A grammar that does not let the thought end here goes first; it is asked again.
            if constraint is None or constraint.allows(meter.closing):
                meter.close()
                self._coming = deque(meter.closing)
                return
        if constraint is not None and self._jumps and not self._coming:
            self._coming.extend(constraint.forced())
