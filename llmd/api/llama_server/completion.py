"""POST /completion and POST /infill."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from llmd.api import json_body
from llmd.api.admission import admitted
from llmd.api.disconnect import until_disconnect
from llmd.api.early_stream import open_stream
from llmd.api.errors import openai_body
from llmd.api.llama_server.encode_completion import NativeEncoder
from llmd.api.llama_server.schema_completion import NativeCompletionRequest, NativeFields
from llmd.api.llama_server.schema_infill import InfillRequest
from llmd.api.openai.chat import change_headers
from llmd.api.session import session_of
from llmd.api.state import ApiState, state_of
from llmd.api.tenant import tenant_of
from llmd.core.request import GenerateRequest
from llmd.errors import LlmdError
from llmd.serving.generation import Generation, start_generation


async def complete(request: Request) -> ASGIApp:
    state = state_of(request)
    body = await json_body.read(request, NativeCompletionRequest, state.settings)
    return await _answer(request, body, body.to_core(tenant=tenant_of(request)))


async def infill(request: Request) -> ASGIApp:
    state = state_of(request)
    body = await json_body.read(request, InfillRequest, state.settings)
    return await _answer(request, body, body.to_core(tenant=tenant_of(request)))


async def _answer(request: Request, body: NativeFields, wanted: GenerateRequest) -> ASGIApp:
    state, session = state_of(request), session_of(request, body.session)
    return await until_disconnect(
        request.receive, _generate(state, body, admitted(state, wanted), session)
    )


async def _generate(
    state: ApiState, body: NativeFields, wanted: GenerateRequest, session: str | None
) -> ASGIApp:
    start = state.sessions.start(
        wanted.tenant, session, lambda: start_generation(state.registry, wanted)
    )
    if body.stream:
        return await open_stream(
            start,
            lambda generation: _stream(generation, NativeEncoder(generation, body)),
            _failure,
            ping_interval=state.settings.sse_ping_interval,
            make_headers=change_headers,
        )
    generation = await start
    try:
        events = [event async for event in generation.events()]
    finally:
        generation.close()
    return Response(
        NativeEncoder(generation, body).whole(events),
        headers=change_headers(generation),
        media_type="application/json",
    )


async def _stream(generation: Generation, encoder: NativeEncoder) -> AsyncIterator[bytes]:
    """The last event says `stop`; there is no [DONE]."""
    try:
        async for event in generation.events():
            data = encoder.feed(event)
            if data:
                yield data
    except LlmdError as error:
        yield _failure(error)


def _failure(error: LlmdError) -> bytes:
    return b"data: " + orjson.dumps(openai_body(error)) + b"\n\n"
