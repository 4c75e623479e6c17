"""The HTTP server, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from llmd.api.state import ApiState
from llmd.daemon.listener import Listeners
from llmd.errors import Draining

logger = logging.getLogger("llmd.daemon")

STOPPED = "llmd was stopped before the answer was finished. Send the request again."

FAREWELL = 2.0
"""Seconds, after the grace, for the last bytes of an answer to reach a client that reads."""

QUICK_FAREWELL = 0.5
"""As FAREWELL, when a second signal asks for haste."""

CLEAN_UP = 10.0
"""Seconds for requests whose connections are closed to end."""


class WebServer(uvicorn.Server):
    """Uvicorn, with an end of its own: new requests get a 503 at once, those under way get
    `grace` seconds, and what is unfinished then ends with an error in its own dialect. Event loop
    only.

    Uvicorn's way refuses connections at once, cuts streams off, raises the signal again and so ends
    the process before the model is freed, and takes no notice of a second SIGTERM.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: ApiState,
        listeners: Listeners,
        *,
        grace: float,
        on_stop: Callable[[float], None],
    ) -> None:
        """`on_stop` is told of the end when it begins, with its seconds."""
        super().__init__(config)
        self.grace = grace
        self.forced = asyncio.Event()
        """Set when everything is to end now."""
        self._state = state
        self._listeners = listeners
        self._on_stop = on_stop
        self._grace_ends: float | None = None

    def set_grace(self, seconds: float) -> None:
        """From now on; an end under way keeps its own."""
        self.grace = seconds

    def stop(self) -> None:
        """End: the first time within the grace, the second time now. A plain call."""
        if self.should_exit:
            self.forced.set()
            return
        self.should_exit = True
        self._state.drain.begin()
        self._grace_ends = asyncio.get_running_loop().time() + self.grace
        logger.info(
            "stopping; running requests get %s s to finish, a second signal ends them", self.grace
        )
        self._on_stop(self.grace)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        state = self._state
        state.drain.begin()
        if self._listeners.is_inherited:
            self._close_listeners()
        now = asyncio.get_running_loop().time()
        await self._unless_forced(self._finish(), (self._grace_ends or now) - now)
        state.background.stop()
        state.registry.stop(Draining(STOPPED))
        self._close_listeners()
        await self._close_connections(QUICK_FAREWELL if self.forced.is_set() else FAREWELL)
        await _within(state.drain.wait(), CLEAN_UP)
        await state.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None here: they matter before and after this server runs, too."""
        yield

    async def _finish(self) -> None:
        await self._state.drain.wait()
        # What runs in the background has no connection.
        await self._state.background.wait()

    async def _unless_forced(self, work: Coroutine[Any, Any, None], seconds: float) -> None:
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self.forced.wait())]
        await asyncio.wait(tasks, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _close_listeners(self) -> None:
        for server in self.servers:
            server.close()
        self._listeners.close()

    async def _close_connections(self, seconds: float) -> None:
        """Those that are idle at once, others with the end of their answer; after so many seconds
        all, which ends their requests too.
        """
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await _within(self._wait_for_connections(), seconds)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def _wait_for_connections(self) -> None:
        # Uvicorn tells nobody when one goes.
        while self.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _within(work: Coroutine[Any, Any, None], seconds: float) -> None:
    await asyncio.wait((task := asyncio.ensure_future(work),), timeout=seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
