"""Streams that begin before there is anything to stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from llmd.api.errors import explain_crash
from llmd.api.sse import PING, EventStreamResponse
from llmd.errors import LlmdError
from llmd.serving.account import current_account
from llmd.serving.generation import Generation

MakeSource = Callable[[Generation], AsyncIterator[bytes]]
"""The bytes of a generation's stream; its errors are events of it."""


async def open_stream(
    start: Coroutine[Any, Any, Generation],
    make_source: MakeSource,
    encode_failure: Callable[[LlmdError], bytes],
    *,
    ping_interval: float,
    make_headers: Callable[[Generation], dict[str, str]] = lambda _generation: {},
) -> EventStreamResponse:
    """The response for a generation that `start` starts.

    While that takes less than `ping_interval` seconds, what `start` raises is raised here, for a
    real status. Then the response begins all the same, with a ping at once: a client must not take
    a model that loads for a dead server. What fails later is an event, as `encode_failure` writes
    it, and of headers that the generation would decide there are none. `ping_interval` 0 waits for
    as long as it takes.

    Cancelling this cancels `start`; the response closes the generation whatever happens.
    """
    starting = _Starting(start)
    try:
        await starting.wait(ping_interval or None)
    except asyncio.CancelledError:
        starting.close()
        raise
    if not starting.is_done:
        source = _late_source(starting, make_source, encode_failure)
        return EventStreamResponse(source, starting.close, ping_interval=ping_interval)
    generation = starting.result()
    return EventStreamResponse(
        make_source(generation),
        generation.close,
        ping_interval=ping_interval,
        headers=make_headers(generation),
    )


class _Starting:
    """A generation on its way, which is closed wherever it is, also if it starts too late."""

    def __init__(self, start: Coroutine[Any, Any, Generation]) -> None:
        self._task = asyncio.ensure_future(start)

    async def wait(self, seconds: float | None = None) -> None:
        """Returns when it has started or failed, or after so many seconds."""
        await asyncio.wait((self._task,), timeout=seconds)

    @property
    def is_done(self) -> bool:
        return self._task.done()

    @property
    def error(self) -> BaseException | None:
        return self._task.exception()

    def result(self) -> Generation:
        return self._task.result()

    def close(self) -> None:
        """A plain call, idempotent."""
        if self._task.cancel():
            self._task.add_done_callback(_close_result)
        else:
            _close_result(self._task)


def _close_result(task: asyncio.Task[Generation]) -> None:
    # Asking for the exception also keeps asyncio from reporting one that nobody waits for.
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _late_source(
    starting: _Starting, make_source: MakeSource, encode_failure: Callable[[LlmdError], bytes]
) -> AsyncIterator[bytes]:
    yield PING
    await starting.wait()
    error = starting.error
    if error is not None:
        failure = error if isinstance(error, LlmdError) else explain_crash(error)
        current_account().error = failure
        yield encode_failure(failure)
        return
    async for chunk in make_source(starting.result()):
        yield chunk
