"""POST /v1/embeddings."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from llmd.api import json_body
from llmd.api.admission import admitted, deadline_of
from llmd.api.disconnect import until_disconnect
from llmd.api.openai.encode_embeddings import encode_embeddings
from llmd.api.openai.schema_embeddings import EmbeddingRequest
from llmd.api.state import ApiState, state_of
from llmd.api.tenant import tenant_of
from llmd.serving.deadline import before
from llmd.serving.embedding import embed

MANY_NUMBERS = 100_000
"""From so many on they are written beside the event loop, not on it."""


async def create(request: Request) -> Response:
    state = state_of(request)
    body = await json_body.read(request, EmbeddingRequest, state.settings)
    return await until_disconnect(request.receive, _answer(state, body, tenant_of(request)))


async def _answer(state: ApiState, body: EmbeddingRequest, tenant: str) -> Response:
    wanted = admitted(state, body.to_core(tenant=tenant))
    async with before(deadline_of(state)):
        embeddings = await embed(state.registry, wanted)
    if sum(map(len, embeddings.vectors)) > MANY_NUMBERS:
        content = await asyncio.to_thread(encode_embeddings, embeddings, body.encoding_format)
    else:
        content = encode_embeddings(embeddings, body.encoding_format)
    return Response(content, media_type="application/json")
