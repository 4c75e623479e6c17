"""One choice of one prompt while it is being generated."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from llmd.core.output import CacheReport, FinishReason, TokenLogprob
from llmd.engine.continuation import Continuation
from llmd.engine.radix import Node, RadixTree, Tokens
from llmd.engine.request import PromptLayout, Request
from llmd.engine.text import TextStream


@dataclass(slots=True, eq=False)
class Sequence:
    """The only mutable state of a request; owned by the Scheduler, on the engine thread.

    `tokens` is prompt plus output. `num_computed` of them are in the model's memory under
    `sequence_id` (None while it waits): those up to the end of `node` shared with others that
    begin so, the rest its own. A sequence that is set back keeps its tokens and where its
    continuation stands, and loses only what was computed.
    """

    request: Request
    index: int
    arrival: int
    """Order of admission: the lower, the older."""
    tokens: list[int]
    num_prompt: int
    max_tokens: int
    """Most tokens to generate; within the context."""
    continuation: Continuation
    text: TextStream
    layout: PromptLayout = field(default_factory=PromptLayout)
    num_computed: int = 0
    num_fresh: int = 1
    """Tokens that its last row of logits led to: one, and those that followed without a draw."""
    num_told: int = 0
    """Generated tokens that an output has told of."""
    num_cached: int = 0
    """Prompt tokens that were not computed for it."""
    node: Node = field(default_factory=lambda: RadixTree().root)
    sequence_id: int | None = None
    has_anchor: bool = False
    """The end of its system prompt is marked in the tree."""
    was_set_back: bool = False
    leader: Sequence | None = None
    """A running sequence that computes, up to `leader_position`, what this one begins with; it
    waits for that.
    """
    leader_position: int = 0
    patience: int = 0
    """Steps that it still waits for its leader."""
    report: CacheReport | None = None
    """What of its prompt was reused, where somebody wants to know."""
    finish_reason: FinishReason | None = None
    error: str | None = None
    is_request_fault: bool = False
    num_scored: int = 0
    """Prompt tokens whose logprobs were taken, the first one's (None) included."""
    _array: Tokens = field(default_factory=lambda: np.empty(0, np.int32))
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
        """Known tokens that are still to be computed."""
        return len(self.tokens) - self.num_computed

    @property
    def is_generating(self) -> bool:
        """Whether nothing is left to compute but what its last row of logits led to."""
        return self.num_pending <= self.num_fresh

    @property
    def is_reading(self) -> bool:
        """Whether its prompt is not computed yet."""
        return self.num_computed < self.num_prompt

    @property
    def may_reuse(self) -> bool:
        """Whether what others computed may stand for its own."""
        request = self.request
        return request.cache_prompt and not request.deterministic and not request.prompt_logprobs

    @property
    def may_keep(self) -> bool:
        """Whether others may use what it computes."""
        request = self.request
        is_sound = self.finish_reason is not FinishReason.ERROR
        return request.cache_prompt and not request.deterministic and is_sound

    @property
    def stops(self) -> tuple[int, ...]:
        """Positions in its prompt from which others are likely to go on their own way."""
        stops = tuple(end for end in self.layout.message_ends if 0 < end < self.num_prompt)
        if self.num_prompt > 1 and (self.request.num_choices > 1 or not stops):
            stops += (self.num_prompt - 1,)
        return stops

    def token_array(self) -> Tokens:
        """Its tokens, made into an array once for as long as none is added."""
        if len(self._array) != len(self.tokens):
            self._array = np.asarray(self.tokens, dtype=np.int32)
        return self._array

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    def finish(
        self, reason: FinishReason, error: str | None = None, *, is_request_fault: bool = False
    ) -> None:
        if self.finish_reason is None:
            self.finish_reason = reason
            self.error = error
            self.is_request_fault = is_request_fault

    def add_prompt_logprob(self, logprob: TokenLogprob | None) -> None:
        self._prompt_logprobs.append(logprob)
        self.num_scored += 1

    def take_prompt_logprobs(self) -> tuple[TokenLogprob | None, ...]:
        """Those that were added since the last call."""
        taken, self._prompt_logprobs = tuple(self._prompt_logprobs), []
        return taken
