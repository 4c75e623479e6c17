"""POST /v1/chat/completions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from llmd.api import json_body
from llmd.api.admission import admitted
from llmd.api.disconnect import until_disconnect
from llmd.api.early_stream import open_stream
from llmd.api.openai.encode_chat import ChatEncoder, encode_completion
from llmd.api.openai.schema_chat import ChatCompletionRequest
from llmd.api.openai.stream import failure, stream
from llmd.api.session import session_of
from llmd.api.state import ApiState, state_of
from llmd.api.tenant import tenant_of
from llmd.serving.generation import Generation, start_generation

MAX_HEADER = 2000


async def create(request: Request) -> ASGIApp:
    state = state_of(request)
    body = await json_body.read(request, ChatCompletionRequest, state.settings)
    session = session_of(request, body.session)
    return await until_disconnect(
        request.receive, _answer(state, body, tenant_of(request), session)
    )


async def _answer(
    state: ApiState, body: ChatCompletionRequest, tenant: str, session: str | None
) -> ASGIApp:
    wanted = admitted(state, body.to_core(tenant=tenant))
    start = state.sessions.start(tenant, session, lambda: start_generation(state.registry, wanted))
    if body.stream:
        return await open_stream(
            start,
            lambda generation: stream(
                generation, ChatEncoder(generation), include_usage=body.include_usage
            ),
            failure,
            ping_interval=state.settings.sse_ping_interval,
            make_headers=change_headers,
        )
    generation = await start
    try:
        events = [event async for event in generation.events()]
    finally:
        generation.close()
    return Response(
        encode_completion(generation, events),
        headers=change_headers(generation),
        media_type="application/json",
    )


def change_headers(generation: Generation) -> dict[str, str]:
    """Tells a client what its messages were changed to, for the sake of the model's template, and
    where its schemas were loosened.
    """
    changes = {"x-llmd-normalized": generation.repairs, "x-llmd-loosened": generation.loosened}
    return {
        name: ", ".join(told)[:MAX_HEADER].encode("ascii", "backslashreplace").decode()
        for name, told in changes.items()
        if told
    }
