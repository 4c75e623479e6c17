"""The state of the Responses API, for the event loop."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from llmd.errors import Draining, EngineFailed
from llmd.responses.database import ResponseDatabase
from llmd.responses.record import ResponseRecord

logger = logging.getLogger("llmd.responses")

T = TypeVar("T")


class ResponseStore:
    """Runs a database in a thread of its own, one thing after the other. Event loop only.

    Cancelling a wait does not take back a write that has begun.
    """

    def __init__(self, database: ResponseDatabase) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "responses")
        self._is_closed = False

    async def save(self, record: ResponseRecord) -> bool:
        """Keep a response; when this returns True it survives a crash. False, with a line in the
        log, where it could not be kept: what was generated is worth giving out all the same.
        """
        if self._is_closed:
            logger.warning("the response %s came too late to be stored", record.id)
            return False
        try:
            is_kept = await self._run(lambda: self._database.save(record))
        except (sqlite3.Error, OSError) as error:
            logger.error("cannot store the response %s: %s", record.id, error)
            return False
        if not is_kept:
            logger.warning("the response %s is too large for state_max_bytes", record.id)
        return is_kept

    async def find(self, tenant: str, response_id: str) -> ResponseRecord | None:
        """As the database's. Raises EngineFailed where it cannot be used, Draining when closed."""
        return await self._read(lambda: self._database.find(tenant, response_id))

    async def chain(
        self, tenant: str, response_id: str, *, is_use: bool = True
    ) -> list[ResponseRecord]:
        """As the database's. Raises as `find`."""
        return await self._read(lambda: self._database.chain(tenant, response_id, is_use=is_use))

    async def delete(self, tenant: str, response_id: str) -> bool:
        """As the database's. Raises as `find`."""
        return await self._read(lambda: self._database.delete(tenant, response_id))

    async def close(self) -> None:
        """Waits for what is being written. Idempotent."""
        self._is_closed = True
        await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        self._thread.shutdown()
        self._database.close()

    async def _read(self, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise Draining("llmd is shutting down. Try again when it is back.")
        try:
            return await self._run(work)
        except (sqlite3.Error, OSError) as error:
            logger.error("the stored responses cannot be used: %s", error)
            raise EngineFailed(
                f"the stored responses cannot be used: {error}. Look at the disk of --state-dir."
            ) from error

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
