"""From a request's prompt to token ids."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import assert_never

from llmd.chat.prompt.layout import RenderedConversation
from llmd.chat.prompt.template import RenderedPrompt
from llmd.core.request import (
    ChatPrompt,
    InfillPrompt,
    MixedPrompt,
    Prompt,
    TextPrompt,
    TokenPrompt,
)
from llmd.engine.request import PromptLayout
from llmd.errors import ContextLengthExceeded, InvalidRequest
from llmd.registry.instance import ModelInstance
from llmd.serving.layout import locate
from llmd.serving.raw_prompt import encode_raw

LONG_TEXT = 20_000
"""Characters from which on text is rendered and tokenized beside the event loop, not on it."""

TOOL_CHARACTERS = 800
"""What the definition of a tool comes to, roughly."""

# Where a debug log of misses is wanted, reports are made for all.
_cache_logger = logging.getLogger("llmd.cache")


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Token ids, and what had to be changed in the messages to please the template. `layout` is
    known of a chat where it was asked for; `chat_text`, the rendered prompt, of every chat.
    """

    token_ids: tuple[int, ...]
    repairs: tuple[str, ...] = ()
    layout: PromptLayout | None = None
    chat_text: str | None = None


async def encode(
    instance: ModelInstance,
    prompt: Prompt,
    *,
    tenant: str = "",
    is_kept: bool = False,
    cache_report: bool = False,
) -> EncodedPrompt:
    """Render and tokenize a prompt. Raises InvalidRequest, TemplateFailed or, for a prompt that
    leaves no room for a single token, ContextLengthExceeded.

    A chat's layout is found where what is computed `is_kept` for others, who are likely to begin
    as far as one of its messages ends, and for a report on what the cache did, which also wants to
    know where the tools are. Thoughts that were kept for `tenant` come back into their messages.
    """
    if isinstance(prompt, ChatPrompt):
        prompt = replace(prompt, messages=instance.thoughts.put_back(tenant, prompt.messages))
    with_tools = cache_report or _cache_logger.isEnabledFor(logging.DEBUG)
    wishes = _LayoutWishes(message_ends=is_kept or with_tools, tools=with_tools)
    if _takes_long(instance, prompt):
        encoded = await asyncio.to_thread(_encode, instance, prompt, wishes)
    else:
        encoded = _encode(instance, prompt, wishes)
    context_size = instance.model.context_size
    if len(encoded.token_ids) >= context_size:
        param = "messages" if isinstance(prompt, ChatPrompt) else "prompt"
        raise ContextLengthExceeded(len(encoded.token_ids), context_size, param=param)
    return encoded


async def render(
    instance: ModelInstance, prompt: ChatPrompt, *, tenant: str = "", opens_answer: bool = True
) -> str:
    """The text that the model would get for a chat, without the BOS that its vocabulary puts in
    front of every prompt. Unless it `opens_answer`, it ends with the last message. Raises
    InvalidRequest or TemplateFailed.
    """
    prompt = replace(prompt, messages=instance.thoughts.put_back(tenant, prompt.messages))

    def rendered() -> str:
        return _render(instance, prompt, opens_answer=opens_answer).prompt.text

    text = await asyncio.to_thread(rendered) if _takes_long(instance, prompt) else rendered()
    tokenizer = instance.model.tokenizer
    return text.removeprefix(tokenizer.bos_text) if tokenizer.adds_bos else text


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayoutWishes:
    message_ends: bool
    tools: bool


def _encode(instance: ModelInstance, prompt: Prompt, wishes: _LayoutWishes) -> EncodedPrompt:
    match prompt:
        case ChatPrompt():
            return _encode_chat(instance, prompt, wishes)
        case TextPrompt() | TokenPrompt() | MixedPrompt() | InfillPrompt():
            return EncodedPrompt(encode_raw(instance, prompt))
        case _:
            assert_never(prompt)


def _encode_chat(
    instance: ModelInstance, prompt: ChatPrompt, wishes: _LayoutWishes
) -> EncodedPrompt:
    rendering = _render(instance, prompt)
    pieces = rendering.prompt.pieces
    tokenizer = instance.model.tokenizer
    token_ids = tokenizer.encode_pieces(pieces)
    if not token_ids:
        raise InvalidRequest(
            "the chat template makes an empty prompt of these messages. Send some text.",
            param="messages",
        )
    layout = None
    if wishes.message_ends and len(token_ids) < instance.model.context_size:
        layout = locate(
            instance.layout_finder,
            tokenizer,
            rendering.conversation,
            pieces,
            token_ids,
            with_tools=wishes.tools,
        )
    return EncodedPrompt(tuple(token_ids), rendering.changes, layout, rendering.prompt.text)


@dataclass(frozen=True, slots=True)
class _Rendering:
    """A chat as its template wrote it, and the changes that this took."""

    prompt: RenderedPrompt
    conversation: RenderedConversation
    changes: tuple[str, ...]


def _render(
    instance: ModelInstance, prompt: ChatPrompt, *, opens_answer: bool = True
) -> _Rendering:
    messages, tools = instance.format.prepare(prompt.messages, prompt.tools)
    fitted = instance.normalizer.normalize(messages, tools)
    last = fitted.messages[-1] if fitted.messages else None
    # A last message of the assistant's is the beginning of its answer (prefill).
    is_begun = last is not None and last.role == "assistant" and not last.tool_calls
    continues_answer = is_begun and opens_answer
    template_kwargs = instance.format.thinking_kwargs(prompt.thinking) | prompt.template_kwargs
    rendered = instance.template.render(
        fitted.messages,
        fitted.tools,
        template_kwargs,
        add_generation_prompt=opens_answer,
        continue_final_message=continues_answer,
    )
    conversation = RenderedConversation(
        text=rendered.text,
        sent=messages,
        fitted=fitted.messages,
        tools=fitted.tools,
        template_kwargs=template_kwargs,
        continues_answer=continues_answer,
    )
    return _Rendering(rendered, conversation, fitted.changes)


def _takes_long(instance: ModelInstance, prompt: Prompt) -> bool:
    # A template is what somebody else wrote, and may be slow by itself.
    is_slow = isinstance(prompt, ChatPrompt) and instance.template.is_slow
    return is_slow or _num_characters(prompt) > LONG_TEXT


def _num_characters(prompt: Prompt) -> int:
    match prompt:
        case ChatPrompt(messages=messages, tools=tools):
            texts = (text for m in messages for text in (m.content, m.reasoning))
            return sum(len(text or "") for text in texts) + TOOL_CHARACTERS * len(tools)
        case TextPrompt(text=text):
            return len(text)
        case InfillPrompt(prefix=prefix, suffix=suffix, files=files):
            return len(prefix) + len(suffix) + sum(len(file.text) for file in files or ())
        case MixedPrompt(parts=parts):
            return sum(len(part) for part in parts if isinstance(part, str))
        case TokenPrompt():
            return 0
        case _:
            assert_never(prompt)
