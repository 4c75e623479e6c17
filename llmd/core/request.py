"""What a client asks for, whatever its dialect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmd.core.message import Message, Tool
from llmd.core.sampling import SamplingOverrides


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompt:
    """Messages, to be rendered by the model's chat template."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
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
class InfillPrompt:
    """Text with a gap that is to be filled; needs a model with fill-in-the-middle tokens."""

    prefix: str
    suffix: str


Prompt = ChatPrompt | TextPrompt | TokenPrompt | InfillPrompt


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
    stop: tuple[str, ...] = ()
    num_choices: int = 1
    top_logprobs: int | None = None
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
