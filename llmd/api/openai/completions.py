"""POST /v1/completions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from llmd.api import json_body
from llmd.api.disconnect import until_disconnect
from llmd.api.openai.encode_completions import CompletionEncoder, encode_completion
from llmd.api.openai.schema_completions import CompletionRequest
from llmd.api.openai.stream import stream
from llmd.api.sse import EventStreamResponse
from llmd.api.state import ApiState, state_of
from llmd.serving.generation import start_generation


async def create(request: Request) -> ASGIApp:
    state = state_of(request)
    body = await json_body.read(request, CompletionRequest, max_bytes=state.settings.max_body_bytes)
    return await until_disconnect(request.receive, _answer(state, body))


async def _answer(state: ApiState, body: CompletionRequest) -> ASGIApp:
    core = body.to_core()
    generation = await start_generation(state.registry, core)
    if body.stream:
        num_choices = len(core.prompts) * core.num_choices
        encoder = CompletionEncoder(generation, num_choices=num_choices)
        return EventStreamResponse(
            stream(generation, encoder, include_usage=body.include_usage),
            generation.close,
            ping_interval=state.settings.sse_ping_interval,
        )
    try:
        events = [event async for event in generation.events()]
    finally:
        generation.close()
    content = encode_completion(
        generation,
        events,
        num_choices=core.num_choices,
        num_kept=body.n,
        with_logprobs=body.num_logprobs is not None,
    )
    return Response(content, media_type="application/json")
