"""What Prometheus reads."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmd.api.state import state_of


async def get(request: Request) -> Response:
    state = state_of(request)
    if not state.settings.metrics:
        raise HTTPException(404)
    encode, media_type = state.metrics.snapshot(request.headers.get("accept", ""))
    body = await asyncio.to_thread(encode)
    return Response(body, headers={"content-type": media_type})


ROUTES = [Route("/metrics", get)]
