"""Prompts that no template writes, as token ids."""

from __future__ import annotations

from typing import assert_never

from llmd.core.request import InfillPrompt, MixedPrompt, TextPrompt, TokenPrompt
from llmd.errors import InvalidRequest, Unsupported
from llmd.registry.instance import ModelInstance
from llmd.serving.infill import encode_infill

RawPrompt = TextPrompt | TokenPrompt | MixedPrompt | InfillPrompt


def encode_raw(instance: ModelInstance, prompt: RawPrompt) -> tuple[int, ...]:
    """At least one token. Raises InvalidRequest for ids that are not in the vocabulary, or an
    empty prompt where the vocabulary has nothing to begin with; Unsupported for a gap that the
    model cannot fill.
    """
    match prompt:
        case TextPrompt(text=text):
            return _encode_text(instance, text)
        case TokenPrompt(token_ids=token_ids):
            return _check_ids(instance, token_ids)
        case MixedPrompt(parts=parts):
            return _encode_mixed(instance, parts)
        case InfillPrompt():
            return _encode_infill(instance, prompt)
        case _:
            assert_never(prompt)


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
            f"before a suffix. Serve a code model that has them, or send a plain prompt.",
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
