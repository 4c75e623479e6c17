"""From a request's prompt to token ids."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import assert_never

from llmd.core.request import ChatPrompt, InfillPrompt, Prompt, TextPrompt, TokenPrompt
from llmd.errors import ContextLengthExceeded, InvalidRequest, Unsupported
from llmd.registry.instance import ModelInstance

LONG_TEXT = 20_000
"""Characters from which on text is rendered and tokenized beside the event loop, not on it."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Token ids, and what had to be changed in the messages to please the template."""

    token_ids: tuple[int, ...]
    repairs: tuple[str, ...] = ()


async def encode(instance: ModelInstance, prompt: Prompt) -> EncodedPrompt:
    """Render and tokenize a prompt. Raises InvalidRequest, TemplateFailed or, for a prompt that
    leaves no room for a single token, ContextLengthExceeded.
    """
    if _num_characters(prompt) > LONG_TEXT:
        encoded = await asyncio.to_thread(_encode, instance, prompt)
    else:
        encoded = _encode(instance, prompt)
    context_size = instance.model.context_size
    if len(encoded.token_ids) >= context_size:
        param = "messages" if isinstance(prompt, ChatPrompt) else "prompt"
        raise ContextLengthExceeded(len(encoded.token_ids), context_size, param=param)
    return encoded


def _encode(instance: ModelInstance, prompt: Prompt) -> EncodedPrompt:
    match prompt:
        case ChatPrompt():
            return _encode_chat(instance, prompt)
        case TextPrompt(text=text):
            return EncodedPrompt(_encode_text(instance, text))
        case TokenPrompt(token_ids=token_ids):
            return EncodedPrompt(_check_ids(instance, token_ids))
        case InfillPrompt():
            return EncodedPrompt(_encode_infill(instance, prompt))
        case _:
            assert_never(prompt)


def _encode_chat(instance: ModelInstance, prompt: ChatPrompt) -> EncodedPrompt:
    fitted = instance.normalizer.normalize(prompt.messages, prompt.tools)
    last = fitted.messages[-1] if fitted.messages else None
    rendered = instance.template.render(
        fitted.messages,
        fitted.tools,
        prompt.template_kwargs,
        # A last message of the assistant's is the beginning of its answer (prefill).
        continue_final_message=last is not None
        and last.role == "assistant"
        and not last.tool_calls,
    )
    token_ids = instance.model.tokenizer.encode_pieces(rendered.pieces)
    if not token_ids:
        raise InvalidRequest(
            "the chat template makes an empty prompt of these messages. Send some text.",
            param="messages",
        )
    return EncodedPrompt(tuple(token_ids), fitted.changes)


def _encode_text(instance: ModelInstance, text: str) -> tuple[int, ...]:
    tokenizer = instance.model.tokenizer
    token_ids = tokenizer.encode(text, add_special=True, parse_special=True)
    if not token_ids:
        start_id = tokenizer.bos_id if tokenizer.bos_id >= 0 else tokenizer.eos_id
        if start_id < 0:
            raise InvalidRequest("the prompt is empty. Send some text.", param="prompt")
        token_ids = [start_id]
    return tuple(token_ids)


def _encode_infill(instance: ModelInstance, prompt: InfillPrompt) -> tuple[int, ...]:
    """Prefix, suffix, middle: the order of llama-server's infill. The client's text is code that
    may well spell a control token, so none is parsed in it.
    """
    tokenizer = instance.model.tokenizer
    if tokenizer.fim_ids is None:
        raise Unsupported(
            f"the model {instance.name} has no fill-in-the-middle tokens, so it cannot write "
            f"before a suffix. Leave 'suffix' out, or serve a code model that has them.",
            param="suffix",
        )
    before, after, middle = tokenizer.fim_ids
    begin = (tokenizer.bos_id,) if tokenizer.adds_bos else ()
    prefix = tokenizer.encode_inside(prompt.prefix, parse_special=False)
    suffix = tokenizer.encode_inside(prompt.suffix, parse_special=False)
    return (*begin, before, *prefix, after, *suffix, middle)


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
        case ChatPrompt(messages=messages):
            return sum(len(message.content or "") for message in messages)
        case TextPrompt(text=text):
            return len(text)
        case InfillPrompt(prefix=prefix, suffix=suffix):
            return len(prefix) + len(suffix)
        case TokenPrompt():
            return 0
        case _:
            assert_never(prompt)
