"""Whether the daemon lives, and whether it can serve."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmd.api.errors import error_response
from llmd.api.state import state_of
from llmd.errors import ModelLoading, ServiceUnavailable


def _ok() -> Response:
    return Response(orjson.dumps({"status": "ok"}), media_type="application/json")


async def live(_request: Request) -> Response:
    """200 while the event loop answers at all."""
    return _ok()


async def ready(request: Request) -> Response:
    """200 when a model can serve; 503 with the reason while none can."""
    registry = state_of(request).registry
    if registry.is_ready:
        return _ok()
    instance = registry.list()[0]
    if instance.error is not None:
        return error_response(ServiceUnavailable(instance.error.message))
    return error_response(
        ModelLoading(
            f"loading {instance.name}: {instance.load_progress:.0%}. Try again in a moment."
        )
    )


ROUTES = [
    Route("/health", ready),
    Route("/readyz", ready),
    Route("/livez", live),
    Route("/v1/health", ready),
]
