"""POST /models/load, /models/unload and /reload: what operators ask of a running daemon."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmd.api import json_body
from llmd.api.disconnect import until_disconnect
from llmd.api.keep_alive import KeepAliveField
from llmd.api.openai.models import encode_model
from llmd.api.state import state_of
from llmd.errors import Forbidden, Unsupported
from llmd.registry.instance import ModelInstance


class ModelBody(KeepAliveField):
    model: str | None = None


async def load(request: Request) -> Response:
    """Answers when the model is ready, with how it is listed. Raises what the load fails with; who
    does not wait does not stop it.
    """
    state = state_of(request)
    body = await json_body.read(request, ModelBody, state.settings)
    work = state.registry.load(body.model, body.keep_alive)
    return _done(await until_disconnect(request.receive, work))


async def unload(request: Request) -> Response:
    """Answers when those who use the model are done and its memory is given back; who does not wait
    does not stop that.
    """
    state = state_of(request)
    body = await json_body.read(request, ModelBody, state.settings)
    work = state.registry.unload(body.model)
    return _done(await until_disconnect(request.receive, work))


async def reload(request: Request) -> Response:
    """Read the configuration once more. For those on this machine only. Raises ConfigError, which
    names file and line, and then nothing has changed.
    """
    state = state_of(request)
    if not _is_local(request):
        raise Forbidden(
            "the configuration is reloaded from the daemon's own machine only. Run `llmd reload` "
            "there, or send the process SIGHUP."
        )
    if state.reload is None:
        raise Unsupported("this server was started without a configuration. Restart it.")
    reloaded = await state.reload()
    return _json(reloaded.encode())


def _is_local(request: Request) -> bool:
    if request.client is None:  # a Unix socket
        return True
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _done(instance: ModelInstance) -> Response:
    return _json({"success": True, **encode_model(instance)})


def _json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def routes(prefix: str) -> list[Route]:
    return [
        Route(f"{prefix}/models/load", load, methods=["POST"]),
        Route(f"{prefix}/models/unload", unload, methods=["POST"]),
        Route(f"{prefix}/reload", reload, methods=["POST"]),
    ]
