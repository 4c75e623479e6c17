from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from llmd.errors import EngineFailed
from llmd.responses.database import FILE_NAME, ResponseDatabase
from llmd.responses.record import ResponseRecord
from llmd.responses.store import ResponseStore

RECORD = ResponseRecord(id="resp_1", tenant="", created_at=1.0, body=b"{}", input_items=b"[]")


def run(directory: Path, work: Callable[[ResponseStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = ResponseStore(
            ResponseDatabase(directory, max_age=1e9, max_bytes=100_000, clock=time.time)
        )
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(main())


def test_what_is_saved_is_found_chained_and_deleted(tmp_path: Path) -> None:
    async def work(store: ResponseStore) -> None:
        assert await store.save(RECORD)
        assert await store.find("", "resp_1") == RECORD
        assert await store.chain("", "resp_1") == [RECORD]
        assert await store.delete("", "resp_1")
        assert await store.find("", "resp_1") is None

    run(tmp_path, work)


def test_many_at_once_are_done_one_after_the_other(tmp_path: Path) -> None:
    async def work(store: ResponseStore) -> None:
        saves = [store.save(RECORD) for _ in range(20)]
        assert all(await asyncio.gather(*saves))

    run(tmp_path, work)


def test_a_disk_that_fails_costs_the_record_and_not_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()

    async def work(store: ResponseStore) -> None:
        assert not await store.save(RECORD)
        with pytest.raises(EngineFailed, match="--state-dir"):
            await store.find("", "resp_1")

    run(tmp_path, work)
    assert {line.levelno for line in caplog.records} == {logging.ERROR}


def test_what_is_too_large_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    large = ResponseRecord(
        id="resp_2", tenant="", created_at=1.0, body=b"", input_items=os.urandom(90_000)
    )

    async def work(store: ResponseStore) -> None:
        assert not await store.save(large)

    run(tmp_path, work)
    (line,) = caplog.records
    assert "state_max_bytes" in line.getMessage()
