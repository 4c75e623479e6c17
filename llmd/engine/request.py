"""All that enters the engine thread."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.core.sampling import SamplingParams
from llmd.engine.grammar import CompiledGrammar
from llmd.engine.thought import ThoughtLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLayout:
    """Where things lie in a prompt, as token positions.

    `message_ends` are the places where a later prompt is likely to branch off, ascending: the end
    of the system prompt first (whatever stands before any conversation), the end of the last
    message last, before the words that open the answer. `tools` is where the definitions of tools
    begin and end.
    """

    message_ends: tuple[int, ...] = ()
    tools: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Prompts to be continued, `num_choices` times each. Sequence `p * num_choices + c` is choice
    c of prompt p. Lengths and ids are checked before: every prompt has at least one token and
    fewer than the context holds.

    `max_tokens` None means up to the end of the context. `top_logprobs` None means no logprobs.

    Computed prefixes are shared within a `scope` only: requests of one tenant, rendered by one
    template. `tenant` is who takes turns with whom; a higher `priority` goes first.
    """

    id: str
    prompts: tuple[tuple[int, ...], ...]
    sampling: SamplingParams
    seed: int
    num_choices: int = 1
    max_tokens: int | None = None
    max_generating_ms: int | None = None
    """A sequence that generates for longer, counted from its first token, ends with its line."""
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    prompt_logprobs: bool = False
    scores_end: bool = False
    """With logprobs, also give that of a token that ends the text, which has no text itself."""
    timings_per_token: bool = False
    layouts: tuple[PromptLayout, ...] = ()
    """One for each prompt, or none at all where nothing is known of them."""
    scope: str = ""
    tenant: str = ""
    priority: int = 0
    cache_prompt: bool = True
    """False neither reuses what was computed for others nor keeps anything for them."""
    deterministic: bool = False
    """A batch of its own, in chunks of a fixed size, and no reuse: the same bits every time."""
    return_progress: bool = False
    """Report how much of the prompt is computed, chunk by chunk."""
    cache_report: bool = False
    """Say in the last output what was reused, and why not more."""
    grammar: CompiledGrammar | None = None
    """What every answer must be, from its first token to its last."""
    thought: ThoughtLimits | None = None
    """How to tell thoughts from the rest; None where the model marks none."""
    watched_ids: tuple[int, ...] = ()
    """Tokens that follow the most likely ones in every list of rivals, whatever their logprob."""

    @property
    def num_answers(self) -> int:
        """Sequences, each of which gets a last output of its own."""
        return len(self.prompts) * self.num_choices


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingRequest:
    """Texts to be pooled, each by itself; one output has what became of all of them. Lengths and
    ids are checked before: every text has at least one token, and no more than the context holds.

    An embedding is cut to its first `dimensions` and brought to length 1. The outputs of a
    classification head are given as they are.
    """

    id: str
    texts: tuple[tuple[int, ...], ...]
    dimensions: int | None = None
    tenant: str = ""
    priority: int = 0

    @property
    def num_answers(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Submit:
    request: Request | PoolingRequest


@dataclass(frozen=True, slots=True)
class Abort:
    """Forget a request at the next step; no further output of it is of interest."""

    request_id: str


@dataclass(frozen=True, slots=True)
class End:
    """Let a request end with what it has, at its length, as if it had reached its last token."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Abort what runs, free the model and end the thread."""


Command = Submit | Abort | End | Close
