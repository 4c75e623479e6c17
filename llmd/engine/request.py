"""All that enters the engine thread."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.core.sampling import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Prompts to be continued, `num_choices` times each. Sequence `p * num_choices + c` is choice
    c of prompt p. Lengths and ids are checked before: every prompt has at least one token and
    fewer than the context holds.

    `max_tokens` None means up to the end of the context. `top_logprobs` None means no logprobs.
    """

    id: str
    prompts: tuple[tuple[int, ...], ...]
    sampling: SamplingParams
    seed: int
    num_choices: int = 1
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    prompt_logprobs: bool = False
    timings_per_token: bool = False


@dataclass(frozen=True, slots=True)
class Submit:
    request: Request


@dataclass(frozen=True, slots=True)
class Abort:
    """Forget a request at the next step; no further output of it is of interest."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Close:
    """Abort what runs, free the model and end the thread."""


Command = Submit | Abort | Close
