"""Whether the daemon lives, and whether it can serve."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmd.api.errors import error_response
from llmd.api.state import state_of
from llmd.errors import Draining, ServiceUnavailable
from llmd.registry.instance import SHUTTING_DOWN


def _ok() -> Response:
    return Response(orjson.dumps({"status": "ok"}), media_type="application/json")


async def live(_request: Request) -> Response:
    """200 while the event loop answers at all."""
    return _ok()


async def ready(request: Request) -> Response:
    """200 when a model can serve, loaded or when it is asked for; 503 with the reason while none
    can, while an engine is stuck, and when the daemon ends.
    """
    state = state_of(request)
    if state.drain.is_on:
        return error_response(Draining(SHUTTING_DOWN))
    if state.stuck:
        names = ", ".join(sorted(state.stuck))
        return error_response(
            ServiceUnavailable(
                f"the engine of {names} gets no further. Restart llmd; its log has the stacks."
            )
        )
    registry = state.registry
    if registry.is_ready:
        return _ok()
    instances = registry.list()
    loading = [each for each in instances if each.can_serve]
    if loading:
        return error_response(loading[0].not_ready())
    errors = [each.error.message for each in instances if each.error is not None]
    return error_response(ServiceUnavailable(errors[0]) if errors else Draining(SHUTTING_DOWN))


ROUTES = [
    Route("/health", ready),
    Route("/readyz", ready),
    Route("/livez", live),
    Route("/v1/health", ready),
]
