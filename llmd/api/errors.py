"""Errors as answers."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from llmd.errors import EngineFailed, LlmdError, MethodNotAllowed, RouteNotFound
from llmd.serving.account import current_account

logger = logging.getLogger("llmd.api")


def openai_body(error: LlmdError) -> dict[str, Any]:
    """The error object of the OpenAI API, which every SDK reads."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
            **error.details(),
        }
    }


def error_response(error: LlmdError) -> Response:
    """The answer; the line of the request in the log will name the error."""
    current_account().error = error
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status in (408, 500):
        # SDKs repeat these; computing the same again would fail the same again.
        headers["x-should-retry"] = "false"
    return Response(
        orjson.dumps(openai_body(error)),
        status_code=error.status,
        headers=headers,
        media_type="application/json",
    )


async def handle_llmd_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, LlmdError)
    return error_response(error)


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405, in our shape."""
    assert isinstance(error, HTTPException)
    path = f"{request.method} {request.url.path}"
    if error.status_code == 405:
        response = error_response(
            MethodNotAllowed(f"{path} is not allowed. Allowed: {(error.headers or {})['Allow']}.")
        )
        response.headers.update(error.headers or {})
        return response
    return error_response(
        RouteNotFound(
            f"there is no route {path}. The API is at /v1, for example "
            f"POST /v1/chat/completions and GET /v1/models."
        )
    )


async def handle_disconnect(request: Request, _error: Exception) -> Response:
    """Nobody reads this answer; 499 is nginx's status for it and shows in logs only."""
    logger.debug("the client of %s has gone", request.url.path)
    return Response(status_code=499)


def explain_crash(error: BaseException) -> EngineFailed:
    """Log what llmd itself did wrong; the error that a client gets for it."""
    logger.error("a handler crashed", exc_info=error)
    return EngineFailed(
        "llmd crashed on this request. Its log has the details; please report them."
    )
