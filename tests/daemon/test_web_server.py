"""How the HTTP server ends with clients that do not behave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from llmd.api.draining import DrainGate
from llmd.api.state import ApiState
from llmd.config.settings import ModelSettings, ServerSettings
from llmd.daemon.listener import open_listeners
from llmd.daemon.web_server import WebServer
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.responses.opening import memory_store

SETTINGS = ServerSettings(port=0)

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"

MORE_THAN_BUFFERS = b"x" * 64 * 2**20


async def serving(
    answer: Callable[[Send], Awaitable[None]], meet: Callable[[int, WebServer], Awaitable[None]]
) -> float:
    """Serve one route until `meet` has stopped the server; the seconds that the end took."""
    registry = ModelRegistry([ModelInstance("none", None, ModelSettings())])
    state = ApiState(registry, SETTINGS, memory_store(SETTINGS))

    async def route(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await answer(send)

    app = Starlette(routes=[Mount("/", route)], middleware=[Middleware(DrainGate)])
    app.state.llmd = state
    listeners = open_listeners(SETTINGS, {})
    port = listeners.sockets[0].getsockname()[1]
    config = uvicorn.Config(app, log_config=None, lifespan="off", http="httptools")
    server = WebServer(config, state, listeners, grace=0, on_stop=lambda _grace: None)
    running = asyncio.ensure_future(server.serve(listeners.sockets))
    await meet(port, server)
    began = asyncio.get_running_loop().time()
    await running
    await registry.close()
    assert state.drain.num_inside == 0
    return asyncio.get_running_loop().time() - began


def test_a_client_that_reads_nothing_does_not_keep_it() -> None:
    async def main() -> None:
        is_stuck = asyncio.Event()

        async def answer(send: Send) -> None:
            await send({"type": "http.response.body", "body": MORE_THAN_BUFFERS, "more_body": True})
            is_stuck.set()
            await send({"type": "http.response.body", "body": b"more"})

        async def meet(port: int, server: WebServer) -> None:
            stalled = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            stalled.sendall(REQUEST)
            await is_stuck.wait()
            server.stop()
            server.stop()

        with ExitStack() as stack:
            assert await serving(answer, meet) < 5

    asyncio.run(main())
