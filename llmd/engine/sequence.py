"""One choice of one prompt while it is being generated."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmd.core.output import FinishReason, TokenLogprob
from llmd.engine.request import Request
from llmd.engine.sampler import Sampler
from llmd.engine.text import TextStream


@dataclass(slots=True, eq=False)
class Sequence:
    """The only mutable state of a request; owned by the Scheduler, on the engine thread.

    `tokens` is prompt plus output. `num_computed` of them are in the model's memory under
    `sequence_id` (None while it waits). A sequence that is set back keeps its tokens and its
    sampler and loses only what was computed.
    """

    request: Request
    index: int
    arrival: int
    """Order of admission: the lower, the older."""
    tokens: list[int]
    num_prompt: int
    max_tokens: int
    """Most tokens to generate; within the context."""
    sampler: Sampler
    text: TextStream
    num_computed: int = 0
    num_cached: int = 0
    sequence_id: int | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None
    num_scored: int = 0
    """Prompt tokens whose logprobs were taken, the first one's (None) included."""
    _prompt_logprobs: list[TokenLogprob | None] = field(default_factory=list)
    started_at: float | None = None
    """When its prompt was first scheduled; seconds of the engine's clock."""
    first_token_at: float | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_generated(self) -> int:
        return len(self.tokens) - self.num_prompt

    @property
    def num_pending(self) -> int:
        """Known tokens that are still to be computed: 1 while it generates."""
        return len(self.tokens) - self.num_computed

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    def finish(self, reason: FinishReason, error: str | None = None) -> None:
        if self.finish_reason is None:
            self.finish_reason = reason
            self.error = error

    def add_prompt_logprob(self, logprob: TokenLogprob | None) -> None:
        self._prompt_logprobs.append(logprob)
        self.num_scored += 1

    def take_prompt_logprobs(self) -> tuple[TokenLogprob | None, ...]:
        """Those that were added since the last call."""
        taken, self._prompt_logprobs = tuple(self._prompt_logprobs), []
        return taken
