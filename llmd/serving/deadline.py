"""When a request's time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmd.errors import RequestTimeout


def timed_out() -> RequestTimeout:
    return RequestTimeout(
        "the request's time was over before its answer began. Send a shorter prompt or try again "
        "when there is less to do, or start llmd with a longer --request-timeout."
    )


@asynccontextmanager
async def before(deadline: float | None) -> AsyncIterator[None]:
    """Cancels the block at `deadline`, in seconds of time.monotonic(), and raises RequestTimeout;
    None is never.
    """
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    timeout = asyncio.timeout(left)
    try:
        async with timeout:
            yield
    except TimeoutError as error:
        if timeout.expired():
            raise timed_out() from error
        raise
