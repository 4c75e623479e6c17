"""POST /tokenize and POST /detokenize."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from llmd.api import json_body
from llmd.api.keep_alive import KeepAliveField
from llmd.api.state import state_of
from llmd.errors import InvalidRequest
from llmd.registry.instance import ModelInstance

LONG_CONTENT = 20_000
"""Characters or tokens from which on they are handled beside the event loop, not on it."""


class TokenizeRequest(KeepAliveField):
    model: str | None = None
    content: str | list[str | int] = ""
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeRequest(KeepAliveField):
    model: str | None = None
    tokens: list[int] = []


async def tokenize(request: Request) -> Response:
    state = state_of(request)
    body = await json_body.read(request, TokenizeRequest, state.settings)
    with await state.registry.lease_any(body.model, body.keep_alive) as instance:
        if len(body.content) > LONG_CONTENT or isinstance(body.content, list):
            tokens = await asyncio.to_thread(_tokens, instance, body)
        else:
            tokens = _tokens(instance, body)
    return Response(orjson.dumps({"tokens": tokens}), media_type="application/json")


async def detokenize(request: Request) -> Response:
    """Raises InvalidRequest for ids that are none."""
    state = state_of(request)
    body = await json_body.read(request, DetokenizeRequest, state.settings)
    with await state.registry.lease_any(body.model, body.keep_alive) as instance:
        _check(instance, body.tokens, "tokens")
        decode = instance.model.tokenizer.decode
        if len(body.tokens) > LONG_CONTENT:
            text = await asyncio.to_thread(decode, body.tokens)
        else:
            text = decode(body.tokens)
    return Response(orjson.dumps({"content": text}), media_type="application/json")


def _tokens(instance: ModelInstance, body: TokenizeRequest) -> list[Any]:
    tokenizer = instance.model.tokenizer
    parts = [body.content] if isinstance(body.content, str) else body.content
    token_ids: list[int] = []
    for position, part in enumerate(parts):
        if isinstance(part, int):
            _check(instance, [part], "content", start=position)
            token_ids.append(part)
        else:
            # Of a mixed content its first text alone may begin as the vocabulary asks for.
            token_ids += tokenizer.encode(
                part,
                add_special=body.add_special and position == 0,
                parse_special=body.parse_special,
            )
    if not body.with_pieces:
        return token_ids
    return [{"id": each, "piece": _piece(tokenizer.token_bytes(each))} for each in token_ids]


def _piece(data: bytes) -> str | list[int]:
    """A token's text, or its bytes where they are no text by themselves."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


def _check(instance: ModelInstance, token_ids: list[int], param: str, *, start: int = 0) -> None:
    num_tokens = instance.model.tokenizer.num_tokens
    for position, token_id in enumerate(token_ids, start=start):
        if not 0 <= token_id < num_tokens:
            raise InvalidRequest(
                f"token {token_id} is not in the vocabulary. Use ids from 0 to {num_tokens - 1}.",
                param=f"{param}.{position}",
            )
