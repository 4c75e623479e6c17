"""What a client asks for, whatever its dialect."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from llmd.core.message import Message, Tool
from llmd.core.sampling import SamplingOverrides


class ToolChoiceMode(Enum):
    AUTO = "auto"
    """The model decides; what it begins as a call becomes a valid one."""
    NONE = "none"
    """No call."""
    REQUIRED = "required"
    """At least one call, of any tool."""
    NAMED = "named"
    """One call, of one tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether and what the model is to call. `name` is NAMED's tool."""

    mode: ToolChoiceMode = ToolChoiceMode.AUTO
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonObject:
    """The answer is to be any JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSchema:
    """The answer is to be JSON that the schema admits. `param` is the request field that holds it,
    for errors. Unless `is_strict`, keywords that cannot be enforced are left out, and said so.
    """

    schema: dict[str, Any] | bool = field(hash=False)
    param: str
    is_strict: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Gbnf:
    """The answer is to match a grammar in llama.cpp's GBNF, from its rule `root` on."""

    text: str


AnswerFormat = JsonObject | JsonSchema | Gbnf


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingWish:
    """What a client says about thinking; None leaves it to the model's template. `effort` is the
    client's own word, "none" for no thinking; `budget` the most tokens of thought.
    """

    enabled: bool | None = None
    effort: str | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompt:
    """Messages, to be rendered by the model's chat template."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    thinking: ThinkingWish = ThinkingWish()
    splits_thoughts: bool = True
    """False leaves thoughts in the answer's text, between the model's own markers."""
    template_kwargs: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPrompt:
    """Raw text; special tokens in it are parsed, as its author writes the whole prompt."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrompt:
    """Token ids, taken as they are."""

    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedPrompt:
    """Raw text and token ids in turn, one prompt together. As with TextPrompt special tokens are
    parsed, and where text comes first the prompt begins as the vocabulary asks for.
    """

    parts: tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    """Text of another place that may help to fill a gap."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillPrompt:
    """Text with a gap that is to be filled; needs a model with fill-in-the-middle tokens.

    `opening` is the beginning of what fills the gap. `files` are others of its repository; None
    shows the model no repository at all. Where the text `is_cut`, of a long one the parts next to
    the gap are kept, and of `files` the last ones; else it must fit as it is. `param` is the
    request field that asks for all this, for errors.
    """

    prefix: str
    suffix: str
    opening: str = ""
    files: tuple[ContextFile, ...] | None = None
    is_cut: bool = False
    param: str = "suffix"


Prompt = ChatPrompt | TextPrompt | TokenPrompt | MixedPrompt | InfillPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One or more prompts to be continued, `num_choices` times each.

    `sampling` holds only what the client set; the model's own defaults lie below it.
    `max_tokens` None means as many as the context allows. `top_logprobs` None means no logprobs,
    0 the chosen token's alone.
    """

    model: str | None
    prompts: tuple[Prompt, ...]
    sampling: SamplingOverrides = field(default_factory=dict, hash=False)
    max_tokens: int | None = None
    max_generating_ms: int | None = None
    """After so long, counted from its first token, an answer ends with its line."""
    deadline: float | None = None
    """When the answer ends with what it has, in seconds of time.monotonic()."""
    stop: tuple[str, ...] = ()
    num_choices: int = 1
    top_logprobs: int | None = None
    answer_format: AnswerFormat | None = None
    echo: bool = False
    """Put each prompt's own text before its answer; with logprobs, the prompt's logprobs too."""
    tenant: str = ""
    """Who asks: nothing that was computed for one tenant is reused for another, and tenants take
    turns.
    """
    priority: int = 0
    """Requests with a higher one go first."""
    cache_prompt: bool = True
    deterministic: bool = False
    return_progress: bool = False
    cache_report: bool = False
    timings_per_token: bool = False
    """Let every piece of text carry the timings so far, and not the last one only."""
    keep_alive: float | None = None
    """Seconds that the model stays loaded when nobody uses it any more; None leaves that as it is.
    """
