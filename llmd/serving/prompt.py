"""From a request's prompt to token ids."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import assert_never

from llmd.chat.prompt.layout import RenderedConversation
from llmd.core.message import Tool
from llmd.core.request import (
    ChatPrompt,
    InfillPrompt,
    MixedPrompt,
    Prompt,
    TextPrompt,
    TokenPrompt,
)
from llmd.engine.request import PromptLayout
from llmd.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from llmd.registry.instance import ModelInstance
from llmd.serving.infill import encode_infill
from llmd.serving.layout import locate

LONG_TEXT = 20_000
"""Characters from which on text is rendered and tokenized beside the event loop, not on it."""

TOOL_CHARACTERS = 800
"""What the definition of a tool comes to, roughly."""

# Where a debug log of misses is wanted, reports are made for all.
_cache_logger = logging.getLogger("llmd.cache")


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """What it takes to read the answer to a chat: the prompt's text, and what may be called."""

    text: str
    tools: tuple[Tool, ...]


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Token ids, and what had to be changed in the messages to please the template. `layout` is
    known of a chat where it was asked for; `chat` of every chat.
    """

    token_ids: tuple[int, ...]
    repairs: tuple[str, ...] = ()
    layout: PromptLayout | None = None
    chat: RenderedChat | None = None


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
    if _num_characters(prompt) > LONG_TEXT:
        encoded = await asyncio.to_thread(_encode, instance, prompt, wishes)
    else:
        encoded = _encode(instance, prompt, wishes)
    context_size = instance.model.context_size
    if len(encoded.token_ids) >= context_size:
        param = "messages" if isinstance(prompt, ChatPrompt) else "prompt"
        raise ContextLengthExceeded(len(encoded.token_ids), context_size, param=param)
    return encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayoutWishes:
    message_ends: bool
    tools: bool


def _encode(instance: ModelInstance, prompt: Prompt, wishes: _LayoutWishes) -> EncodedPrompt:
    match prompt:
        case ChatPrompt():
            return _encode_chat(instance, prompt, wishes)
        case TextPrompt(text=text):
            return EncodedPrompt(_encode_text(instance, text))
        case TokenPrompt(token_ids=token_ids):
            return EncodedPrompt(_check_ids(instance, token_ids))
        case MixedPrompt(parts=parts):
            return EncodedPrompt(_encode_mixed(instance, parts))
        case InfillPrompt():
            return EncodedPrompt(_encode_infill(instance, prompt))
        case _:
            assert_never(prompt)


def _encode_chat(
    instance: ModelInstance, prompt: ChatPrompt, wishes: _LayoutWishes
) -> EncodedPrompt:
    messages, tools = instance.format.prepare(prompt.messages, prompt.tools)
    fitted = instance.normalizer.normalize(messages, tools)
    last = fitted.messages[-1] if fitted.messages else None
    # A last message of the assistant's is the beginning of its answer (prefill).
    continues_answer = last is not None and last.role == "assistant" and not last.tool_calls
    template_kwargs = instance.format.thinking_kwargs(prompt.thinking) | prompt.template_kwargs
    rendered = instance.template.render(
        fitted.messages,
        fitted.tools,
        template_kwargs,
        continue_final_message=continues_answer,
    )
    tokenizer = instance.model.tokenizer
    token_ids = tokenizer.encode_pieces(rendered.pieces)
    if not token_ids:
        raise InvalidRequest(
            "the chat template makes an empty prompt of these messages. Send some text.",
            param="messages",
        )
    layout = None
    if wishes.message_ends and len(token_ids) < instance.model.context_size:
        conversation = RenderedConversation(
            text=rendered.text,
            sent=messages,
            fitted=fitted.messages,
            tools=fitted.tools,
            template_kwargs=template_kwargs,
            continues_answer=continues_answer,
        )
        layout = locate(
            instance.layout_finder,
            tokenizer,
            conversation,
            rendered.pieces,
            token_ids,
            with_tools=wishes.tools,
        )
    chat = RenderedChat(rendered.text, prompt.tools)
    return EncodedPrompt(tuple(token_ids), fitted.changes, layout, chat)


def _encode_text(instance: ModelInstance, text: str) -> tuple[int, ...]:
    tokenizer = instance.model.tokenizer
    token_ids = _encode_beginning(instance, text)
    if not token_ids:
        start_id = tokenizer.bos_id if tokenizer.bos_id >= 0 else tokenizer.eos_id
        if start_id < 0:
            raise InvalidRequest("the prompt is empty. Send some text.", param="prompt")
        token_ids = [start_id]
    return tuple(token_ids)


def _encode_beginning(instance: ModelInstance, text: str) -> list[int]:
    """Text that a prompt begins with. BOS is added once, unless the client wrote it."""
    tokenizer = instance.model.tokenizer
    token_ids = tokenizer.encode(text, add_special=True, parse_special=True)
    if tokenizer.adds_bos and token_ids[:2] == [tokenizer.bos_id] * 2:
        del token_ids[0]
    return token_ids


def _encode_mixed(instance: ModelInstance, parts: tuple[str | int, ...]) -> tuple[int, ...]:
    tokenizer = instance.model.tokenizer
    token_ids: list[int] = []
    for position, part in enumerate(parts):
        if isinstance(part, int):
            token_ids.append(part)
        elif position == 0:
            token_ids += _encode_beginning(instance, part)
        else:
            token_ids += tokenizer.encode_inside(part, parse_special=True)
    return _check_ids(instance, tuple(token_ids))


def _encode_infill(instance: ModelInstance, prompt: InfillPrompt) -> tuple[int, ...]:
    tokenizer = instance.model.tokenizer
    if tokenizer.fim_ids is None:
        raise Unsupported(
            f"the model {instance.name} has no fill-in-the-middle tokens, so it cannot write "
            f"before a suffix. Leave {prompt.param!r} out, or serve a code model that has them.",
            param=prompt.param,
        )
    return encode_infill(tokenizer, prompt, context_size=instance.model.context_size)


def _check_ids(instance: ModelInstance, token_ids: tuple[int, ...]) -> tuple[int, ...]:
    num_vocab = instance.model.tokenizer.num_tokens
    if not token_ids:
        raise InvalidRequest("the prompt has no tokens. Send at least one.", param="prompt")
    for position, token_id in enumerate(token_ids):
        if not 0 <= token_id < num_vocab:
            raise InvalidRequest(
                f"token {token_id} at position {position} is not in the vocabulary. Use ids from "
                f"0 to {num_vocab - 1}.",
                param="prompt",
            )
    return token_ids


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
