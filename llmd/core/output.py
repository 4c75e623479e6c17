"""What the engine gives back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from llmd.core.embedding import Vector


class FinishReason(Enum):
    """Why a sequence ended."""

    STOP = "stop"
    """The model ended its turn, or a stop string appeared."""
    LENGTH = "length"
    """max_tokens or the end of the context was reached."""
    ABORTED = "aborted"
    """Its client went away, or the daemon is shutting down."""
    ERROR = "error"
    """The engine could not go on with it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could have stood here. `logprob` is natural, of the model's raw distribution."""

    token_id: int
    text: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A chosen token with its most likely rivals, most likely first (the chosen one may be among
    them).
    """

    chosen: Candidate
    top: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of one sequence went; milliseconds of the engine's clock.

    `num_cached` prompt tokens were not computed for this request; `num_prompt` is the rest.
    """

    num_cached: int
    num_prompt: int
    prompt_ms: float
    num_generated: int
    generated_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptProgress:
    """How much of a prompt is in the model's memory. `num_cached` tokens of the `num_total` were
    there from the start; `num_processed` are now, these included. `elapsed_ms` counts from when
    the prompt was first scheduled.
    """

    num_total: int
    num_cached: int
    num_processed: int
    elapsed_ms: float


class MissReason(Enum):
    """Why a prompt that continues a known conversation was not reused up to its end."""

    EVICTED = "evicted"
    """It was known so far, and its computed state had to go."""
    PROMPT_CHANGED = "prompt_changed"
    """The text itself differs from here on."""
    TOOLS_CHANGED = "tools_changed"
    """The text differs within the definitions of the tools."""
    REASONING_DROPPED = "reasoning_dropped"
    """The model's thoughts stood here, and the client did not send them back."""
    OTHER_KEY = "other_key"
    """The same text was computed for another API key, with which nothing is shared."""
    CHECKPOINT_GAP = "checkpoint_gap"
    """This kind of memory can go back to certain positions only, and this is not one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    """What of a prompt was reused. `reason` is None where all of it was that can be, or where
    nothing was known that it continues; else `position` is the first token that was not known
    alike, `was` the known text around it and `now` the prompt's.
    """

    num_prompt: int
    num_cached: int
    reason: MissReason | None = None
    position: int | None = None
    was: str = ""
    now: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """News of one sequence (choice `index` of request `request_id`) since its last Output.

    `text` is complete UTF-8 that no stop string can take back any more. `logprobs` holds the
    tokens whose text is at last in `text`; empty unless asked for. `finish_reason` is None until
    the last Output. `timings` come with that, or with each where the request asked for them.
    `error` explains FinishReason.ERROR, and `is_request_fault` says that the request asks for what
    cannot be; `stop_text` is the stop string that ended it. `progress`
    is the latest, where asked for, and `cache_report` comes with the last Output where asked for.
    Of the tokens so far, `num_reasoning` were thoughts. A model that embeds gives `vectors`, one
    for each text of the request, and nothing else.
    """

    request_id: str
    index: int
    text: str
    num_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob | None, ...] = ()
    finish_reason: FinishReason | None = None
    timings: Timings | None = None
    stop_text: str | None = None
    error: str | None = None
    is_request_fault: bool = False
    progress: PromptProgress | None = None
    cache_report: CacheReport | None = None
    num_reasoning: int = 0
    vectors: tuple[Vector, ...] = ()
