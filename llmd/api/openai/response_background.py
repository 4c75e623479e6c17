"""Responses that are worked on whether anybody waits for them or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from llmd.api.access_log import background_work
from llmd.api.errors import explain_crash
from llmd.api.openai.encode_response import encode_event
from llmd.api.openai.encode_response_items import ItemEvent
from llmd.api.openai.response_run import ResponseRun
from llmd.errors import Draining, EngineFailed, LlmdError, QueueFull
from llmd.registry.instance import SHUTTING_DOWN
from llmd.responses.record import RecordState
from llmd.serving.generation import Generation

MAX_RUNNING = 1024
"""Background responses at once; each holds its conversation."""


class BackgroundResponse:
    """One of them, at work from the start, and its events so far; event N is the one with the
    sequence number N.
    """

    def __init__(self, run: ResponseRun) -> None:
        self.run = run
        self.accepted = run.writer.encode()
        """The response as it was taken on: queued."""
        self.events: list[bytes] = []
        self.is_over = False
        self.stopped_by: LlmdError | None = None
        """Why it was cancelled, where that was not its client's wish."""
        self.work: asyncio.Task[None] = asyncio.ensure_future(self._advance())
        self._waiters: list[asyncio.Future[None]] = []

    def add(self, event: ItemEvent, *, is_last: bool = False) -> None:
        self.events.append(encode_event(event))
        self.is_over = is_last
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def follow(self, start: int) -> AsyncIterator[bytes]:
        """The events from number `start` on, as they come."""
        position = start
        while True:
            while position < len(self.events):
                yield self.events[position]
                position += 1
            if self.is_over:
                return
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def _advance(self) -> None:
        path = f"/v1/responses/{self.run.writer.id}"
        with background_work(path, lambda: self.stopped_by):
            generation = await self._start()
            try:
                async for event in self.run.writer.advance(generation):
                    self.add(event)
            finally:
                generation.close()

    async def _start(self) -> Generation:
        while True:
            try:
                return await self.run.start()
            except QueueFull as error:
                # Nobody waits for the status: it may stay queued for as long as it takes.
                await asyncio.sleep(error.retry_after)


class BackgroundResponses:
    """Those of this daemon that are not over. Event loop only."""

    def __init__(self) -> None:
        self._running: dict[str, BackgroundResponse] = {}
        self._supervisors: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def begin(self, run: ResponseRun) -> BackgroundResponse:
        """Take a response on; it is stored, as queued, when this returns. Raises QueueFull,
        EngineFailed where it cannot be stored, or Draining at shutdown.
        """
        if self._is_closed:
            raise Draining(SHUTTING_DOWN)
        if len(self._running) >= MAX_RUNNING:
            raise QueueFull(
                f"{MAX_RUNNING} background responses are under way. Send it again later."
            )
        # What is in the store as running has to run, also where its client goes meanwhile.
        return await asyncio.shield(self._begin(run))

    async def _begin(self, run: ResponseRun) -> BackgroundResponse:
        await run.save(state=RecordState.RUNNING)
        if not run.writer.is_stored:
            raise EngineFailed(
                "the response cannot be stored, so nobody could fetch it. Look at llmd's log, or "
                "leave background out."
            )
        if self._is_closed:
            raise Draining(SHUTTING_DOWN)
        background = BackgroundResponse(run)
        background.add(run.writer.created())
        background.add(run.writer.queued())
        self._running[run.writer.id] = background
        supervisor = asyncio.ensure_future(self._supervise(background))
        self._supervisors.add(supervisor)
        supervisor.add_done_callback(self._supervisors.discard)
        return background

    def find(self, tenant: str, response_id: str) -> BackgroundResponse | None:
        """One that is not over yet."""
        found = self._running.get(response_id)
        return found if found is not None and found.run.tenant == tenant else None

    async def cancel(self, background: BackgroundResponse) -> None:
        """Returns when it is over and stored."""
        background.work.cancel()
        async for _ in background.follow(len(background.events)):
            pass

    async def wait(self) -> None:
        """Returns when none is under way any more."""
        while self._supervisors:
            await asyncio.wait(set(self._supervisors))

    async def close(self) -> None:
        """Take none on any more, and let those that run fail. Idempotent."""
        self._is_closed = True
        self.stop()
        await self.wait()

    def stop(self) -> None:
        """Let what still runs fail now. A plain call."""
        for background in self._running.values():
            background.stopped_by = Draining(
                "llmd was stopped before this response was finished. Send the request again."
            )
            background.work.cancel()

    async def _supervise(self, background: BackgroundResponse) -> None:
        work = background.work
        await asyncio.wait((work,))
        run = background.run
        error: BaseException | None = background.stopped_by
        if not work.cancelled():
            error = work.exception()
        elif error is None:
            run.writer.cancel()
        if error is not None:
            failure = error if isinstance(error, LlmdError) else explain_crash(error)
            for event in run.writer.fail(failure):
                background.add(event)
        last = run.writer.terminal()
        await run.save(events=b"".join([*background.events, encode_event(last)]))
        background.add(last, is_last=True)
        del self._running[run.writer.id]
