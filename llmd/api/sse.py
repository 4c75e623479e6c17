"""Server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.types import Receive, Scope, Send

from llmd.api.disconnect import wait_for_disconnect

PING = b": ping\n\n"


class EventStreamResponse:
    """Sends a source of event bytes; an ASGI application for one answer.

    - The client's disconnect is listened for all the time and stops everything at once.
    - After `ping_interval` seconds without a byte a comment goes out, by the clock: also while the
      source is silent in one long prompt.
    - `close` is called before this returns, whatever happened; it is plain and idempotent.

    (Starlette's StreamingResponse leaves its generator open when the client goes during a send,
    and does not listen for the disconnect at ASGI spec version 2.4.)
    """

    def __init__(
        self,
        source: AsyncIterator[bytes],
        close: Callable[[], None],
        *,
        ping_interval: float,
        headers: dict[str, str] | None = None,
    ) -> None:
        """`ping_interval` 0 sends no pings. `source` must not raise: errors are events of it."""
        self._source = source
        self._close = close
        self._ping_interval = ping_interval
        self._headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            # Proxies would collect the stream otherwise.
            "x-accel-buffering": "no",
            **(headers or {}),
        }
        self._last_sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tasks = [
            asyncio.ensure_future(self._write(send)),
            asyncio.ensure_future(wait_for_disconnect(receive)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                tasks[0].result()
        finally:
            self._close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        headers = [(key.encode(), value.encode()) for key, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        loop = asyncio.get_running_loop()
        self._last_sent = loop.time()
        pinger = asyncio.ensure_future(self._ping(send)) if self._ping_interval else None
        try:
            async for chunk in self._source:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._last_sent = loop.time()
        finally:
            if pinger is not None:
                pinger.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await pinger
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ping(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = self._last_sent + self._ping_interval
            if loop.time() < due:
                await asyncio.sleep(due - loop.time())
            else:
                await send({"type": "http.response.body", "body": PING, "more_body": True})
                self._last_sent = loop.time()
