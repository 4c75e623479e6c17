"""POST /v1/responses, what counts its tokens, and all routes of the Responses API."""

from __future__ import annotations

from dataclasses import replace

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from llmd.api import json_body
from llmd.api.admission import admitted
from llmd.api.disconnect import until_disconnect
from llmd.api.early_stream import open_stream
from llmd.api.openai import stored_responses
from llmd.api.openai.chat import change_headers
from llmd.api.openai.response_run import ResponseRun, prepare
from llmd.api.openai.schema_responses import ResponsesRequest
from llmd.api.session import session_of
from llmd.api.sse import EventStreamResponse
from llmd.api.state import ApiState, state_of
from llmd.api.tenant import tenant_of
from llmd.serving.counting import count_prompt_tokens


def routes(path: str) -> list[Route]:
    """All of the API, at `path`."""
    one = f"{path}/{{response_id}}"
    return [
        Route(path, create, methods=["POST"]),
        Route(f"{path}/input_tokens", count_input_tokens, methods=["POST"]),
        Route(one, stored_responses.get_response, methods=["GET"]),
        Route(one, stored_responses.delete_response, methods=["DELETE"]),
        Route(f"{one}/input_items", stored_responses.list_input_items, methods=["GET"]),
        Route(f"{one}/cancel", stored_responses.cancel_response, methods=["POST"]),
    ]


async def create(request: Request) -> ASGIApp:
    state = state_of(request)
    body = await json_body.read(request, ResponsesRequest, state.settings)
    session = session_of(request, body.session)
    return await until_disconnect(
        request.receive, _answer(state, body, tenant_of(request), session)
    )


async def count_input_tokens(request: Request) -> ASGIApp:
    state = state_of(request)
    body = await json_body.read(request, ResponsesRequest, state.settings)
    return await until_disconnect(request.receive, _count(state, body, tenant_of(request)))


async def _answer(
    state: ApiState, body: ResponsesRequest, tenant: str, session: str | None
) -> ASGIApp:
    run = await prepare(state.registry, state.responses, body, tenant)
    run = replace(run, core=admitted(state, run.core))
    if body.background:
        return await _begin(state, run)
    start = state.sessions.start(tenant, session, run.start)
    if body.stream:
        return await open_stream(
            start,
            run.stream,
            run.failure,
            ping_interval=state.settings.sse_ping_interval,
            make_headers=change_headers,
        )
    generation = await start
    await run.finish(generation)
    return Response(
        orjson.dumps(run.writer.encode()),
        headers=change_headers(generation),
        media_type="application/json",
    )


async def _begin(state: ApiState, run: ResponseRun) -> ASGIApp:
    background = await state.background.begin(run)
    if state.caller is not None and state.caller.slot is not None:
        slot = state.caller.slot
        slot.hold()
        background.work.add_done_callback(lambda _: slot.release())
    if run.request.stream:
        return EventStreamResponse(
            background.follow(0), lambda: None, ping_interval=state.settings.sse_ping_interval
        )
    return Response(orjson.dumps(background.accepted), media_type="application/json")


async def _count(state: ApiState, body: ResponsesRequest, tenant: str) -> Response:
    run = await prepare(state.registry, state.responses, body, tenant)
    num_tokens = await count_prompt_tokens(state.registry, run.core)
    answer = {"object": "response.input_tokens", "input_tokens": num_tokens}
    return Response(orjson.dumps(answer), media_type="application/json")
