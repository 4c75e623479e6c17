"""GET /slots."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from llmd.api.llama_server.props import ready_model
from llmd.errors import ServiceUnavailable


async def get(request: Request) -> Response:
    """One for each sequence that can run; nothing of what others ask. With `fail_on_no_slot`,
    raises ServiceUnavailable when all are taken.
    """
    instance = ready_model(request)
    model = instance.model
    num_busy = min(instance.client.num_unfinished, model.num_sequences)
    if request.query_params.get("fail_on_no_slot") and num_busy == model.num_sequences:
        raise ServiceUnavailable("no slot available: all are at work. Try again in a moment.")
    found = [
        {
            "id": index,
            "n_ctx": model.context_size,
            "speculative": False,
            "is_processing": index < num_busy,
        }
        for index in range(model.num_sequences)
    ]
    return Response(orjson.dumps(found), media_type="application/json")
