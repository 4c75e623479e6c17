"""The end, as clients see it: who is being answered gets the rest, who comes later is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmd.api.errors import error_response
from llmd.errors import Draining
from llmd.registry.instance import SHUTTING_DOWN

PROBES = frozenset({"/livez", "/readyz", "/health", "/v1/health", "/metrics"})
"""Answered to the very end."""

BODY_PATIENCE = 5.0
"""Seconds for the body of a request that is sent away: a connection that is closed before all of it
is read is reset, and then its client sees no answer.
"""


class Drain:
    """How many are being answered, and whether more are taken on. Event loop only."""

    def __init__(self) -> None:
        self.is_on = False
        self.num_inside = 0
        """Requests that are being answered."""
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def begin(self) -> None:
        """From now on requests are sent away. Idempotent."""
        self.is_on = True

    async def wait(self) -> None:
        """Returns when nobody is being answered."""
        await self._is_empty.wait()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """One more, until the block ends."""
        self.num_inside += 1
        self._is_empty.clear()
        try:
            yield
        finally:
            self.num_inside -= 1
            if self.num_inside == 0:
                self._is_empty.set()


class DrainGate:
    """Middleware: keeps the count, and sends away with a 503 while the daemon ends. Answers that
    begin then are the last ones of their connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        drain: Drain = scope["app"].state.llmd.drain

        # No coroutine of its own: it is called for every piece of a stream.
        def send_last(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start" and drain.is_on:
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            return send(message)

        if scope["path"].removeprefix(scope.get("root_path", "")) in PROBES:
            await self._app(scope, receive, send_last)
        elif drain.is_on:
            await _read_all(receive)
            await error_response(Draining(SHUTTING_DOWN))(scope, receive, send_last)
        else:
            with drain.inside():
                await self._app(scope, receive, send_last)


async def _read_all(receive: Receive) -> None:
    """Take what the client still sends, and leave it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_PATIENCE):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body", False):
                message = await receive()
