"""A generation as the dialects see it."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.core.output import CacheReport, FinishReason, PromptProgress, Timings, TokenLogprob


@dataclass(frozen=True, slots=True)
class PromptEcho:
    """The prompt of choice `index`, asked for with `echo`: each token's bytes, and with logprobs
    one entry for each token (None for the first, before which nothing stands).
    """

    index: int
    tokens: tuple[bytes, ...]
    logprobs: tuple[TokenLogprob | None, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of choice `index` (prompt-major: prompt * num_choices + choice)."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    timings: Timings | None = None
    """So far, where the request asked for them with every piece of text."""


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of what choice `index` thinks."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    timings: Timings | None = None


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """Choice `index` calls a tool; `call` counts its calls from 0. `id` is unique."""

    index: int
    call: int
    id: str
    name: str
    logprobs: tuple[TokenLogprob, ...] = ()
    timings: Timings | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the JSON text of the arguments of the newest call."""

    index: int
    call: int
    arguments: str
    logprobs: tuple[TokenLogprob, ...] = ()
    timings: Timings | None = None


@dataclass(frozen=True, slots=True)
class PromptAdvanced:
    """More of choice `index`'s prompt was read; only where the request asked for progress."""

    index: int
    progress: PromptProgress


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of choice `index`. `error` explains FinishReason.ERROR, and `is_request_fault` says
    that the request asks for what cannot be. It called `num_calls` tools, and `num_reasoning` of
    its tokens were thoughts.
    """

    index: int
    reason: FinishReason
    timings: Timings
    num_calls: int = 0
    num_reasoning: int = 0
    stop_text: str | None = None
    error: str | None = None
    is_request_fault: bool = False
    cache_report: CacheReport | None = None


Event = (
    PromptEcho
    | PromptAdvanced
    | TextDelta
    | ReasoningDelta
    | ToolCallStarted
    | ToolCallDelta
    | Finished
)
