from __future__ import annotations

import logging
import os
import random
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmd.errors import StartupError
from llmd.responses.database import FILE_NAME, USE_INTERVAL, ResponseDatabase
from llmd.responses.record import RecordState, ResponseRecord

DAY = 86_400.0

Open = Callable[..., ResponseDatabase]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_database(tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Opens the same file again and again; what is still open is closed at the end."""
    opened: list[ResponseDatabase] = []

    def make(
        *, max_bytes: int = 1 << 20, max_age: float = 30 * DAY, directory: Path | None = tmp_path
    ) -> ResponseDatabase:
        database = ResponseDatabase(directory, max_age=max_age, max_bytes=max_bytes, clock=clock)
        opened.append(database)
        database.open()
        return database

    yield make
    for database in opened:
        database.close()


def record(
    id_: str = "resp_1",
    *,
    tenant: str = "",
    previous_id: str | None = None,
    body: bytes = b"{}",
    state: RecordState = RecordState.FINISHED,
) -> ResponseRecord:
    return ResponseRecord(
        id=id_,
        tenant=tenant,
        created_at=5.0,
        body=body,
        input_items=b"[1]",
        previous_id=previous_id,
        events=b"e",
        state=state,
    )


def noise(size: int) -> bytes:
    """Bytes that do not compress."""
    return random.Random(7).randbytes(size)


def test_a_record_comes_back_as_it_was(open_database: Open) -> None:
    database = open_database()
    kept = record(previous_id="resp_0", body=b"\x00body")
    assert database.save(kept)
    assert database.find("", "resp_1") == kept


def test_a_record_survives_reopening(open_database: Open) -> None:
    first = open_database()
    first.save(record())
    first.close()
    assert open_database().find("", "resp_1") == record()


def test_a_second_save_replaces_the_first(open_database: Open) -> None:
    database = open_database()
    database.save(record(body=b"1"))
    database.save(record(body=b"2"))
    assert database.find("", "resp_1") == record(body=b"2")


def test_another_tenant_finds_chains_and_deletes_nothing(open_database: Open) -> None:
    database = open_database()
    database.save(record(tenant="a"))
    assert database.find("b", "resp_1") is None
    assert database.chain("b", "resp_1") == []
    assert not database.delete("b", "resp_1")
    assert database.find("a", "resp_1") is not None


def test_a_chain_is_told_from_its_beginning(open_database: Open) -> None:
    database = open_database()
    ids = ["resp_3", "resp_1", "resp_2"]
    for id_, before in zip(ids, [None, *ids], strict=False):
        database.save(record(id_, previous_id=before))
    assert [each.id for each in database.chain("", "resp_2")] == ids
    assert [each.id for each in database.chain("", "resp_1")] == ids[:2]


def test_a_chain_ends_where_another_tenant_begins(open_database: Open) -> None:
    database = open_database()
    database.save(record("resp_1", tenant="a"))
    database.save(record("resp_2", tenant="b", previous_id="resp_1"))
    assert [each.id for each in database.chain("b", "resp_2")] == ["resp_2"]


def test_a_broken_chain_shows_what_is_missing(open_database: Open) -> None:
    database = open_database()
    for number in (1, 2, 3):
        database.save(record(f"resp_{number}", previous_id=f"resp_{number - 1}"))
    assert database.delete("", "resp_1")
    (first, last) = database.chain("", "resp_3")
    assert (first.previous_id, last.id) == ("resp_1", "resp_3")


def test_what_was_deleted_is_gone(open_database: Open) -> None:
    database = open_database()
    database.save(record())
    assert database.delete("", "resp_1")
    assert database.find("", "resp_1") is None
    assert not database.delete("", "resp_1")


def test_what_is_too_old_is_not_found(open_database: Open, clock: Clock) -> None:
    database = open_database()
    database.save(record())
    clock.now += 30 * DAY
    assert database.find("", "resp_1") is not None
    clock.now += 1
    assert database.find("", "resp_1") is None
    assert database.chain("", "resp_1") == []


def test_what_is_too_old_is_removed_with_the_next_write(
    open_database: Open, clock: Clock, tmp_path: Path
) -> None:
    database = open_database()
    database.save(record("resp_1"))
    clock.now += 31 * DAY
    database.save(record("resp_2"))
    assert ids_in(tmp_path) == ["resp_2"]


def test_a_continued_response_stays(open_database: Open, clock: Clock) -> None:
    database = open_database()
    database.save(record())
    clock.now += 29 * DAY
    database.chain("", "resp_1")
    clock.now += 29 * DAY
    assert database.find("", "resp_1") is not None


def test_a_chain_that_is_only_looked_at_grows_old(open_database: Open, clock: Clock) -> None:
    database = open_database()
    database.save(record())
    clock.now += 29 * DAY
    assert database.chain("", "resp_1", is_use=False) == [database.find("", "resp_1")]
    clock.now += 29 * DAY
    assert database.find("", "resp_1") is None


def test_a_chain_breaks_at_what_is_too_old(open_database: Open, clock: Clock) -> None:
    database = open_database()
    for number in (1, 2):
        database.save(record(f"resp_{number}", previous_id=f"resp_{number - 1}"))
    clock.now += USE_INTERVAL / 2
    database.save(record("resp_3", previous_id="resp_2"))
    clock.now += 30 * DAY - USE_INTERVAL / 4
    (left,) = database.chain("", "resp_3")
    assert left.previous_id == "resp_2"


def test_two_uses_within_an_hour_are_written_down_once(open_database: Open, clock: Clock) -> None:
    database = open_database()
    database.save(record())
    clock.now += USE_INTERVAL / 2
    database.chain("", "resp_1")
    clock.now += 30 * DAY - USE_INTERVAL / 4
    assert database.find("", "resp_1") is None


def test_beyond_the_bytes_what_was_used_longest_ago_goes(
    open_database: Open, clock: Clock, tmp_path: Path
) -> None:
    database = open_database(max_bytes=400_000)
    for number in range(60):
        clock.now += 1
        database.save(record(f"resp_{number:02}", body=noise(20_000)))
    kept = ids_in(tmp_path)
    assert 10 <= len(kept) < 20
    assert kept == [f"resp_{number:02}" for number in range(60)][-len(kept) :]
    assert (tmp_path / FILE_NAME).stat().st_size < 450_000


def test_what_alone_is_too_large_is_not_kept(open_database: Open) -> None:
    database = open_database(max_bytes=200_000)
    database.save(record("resp_1"))
    assert not database.save(record("resp_2", body=noise(150_000)))
    assert database.find("", "resp_1") is not None


def test_in_memory_nothing_is_written(open_database: Open, tmp_path: Path) -> None:
    database = open_database(directory=None)
    database.save(record(state=RecordState.RUNNING))
    found = database.find("", "resp_1")
    assert found is not None and found.state is RecordState.RUNNING
    assert list(tmp_path.iterdir()) == []


def test_only_the_user_may_read_the_file(open_database: Open, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "state"
    open_database(directory=directory).save(record(state=RecordState.RUNNING))
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_running_record_is_lost_when_its_daemon_is_gone(open_database: Open) -> None:
    first = open_database()
    first.save(record(state=RecordState.RUNNING))
    second = open_database()
    assert state_in(second) is state_in(first) is RecordState.RUNNING
    first.close()
    assert state_in(second) is RecordState.LOST


def test_two_daemons_share_a_file(open_database: Open) -> None:
    first, second = open_database(), open_database()
    first.save(record("resp_1"))
    second.save(record("resp_2", previous_id="resp_1"))
    assert [each.id for each in first.chain("", "resp_2")] == ["resp_1", "resp_2"]


def test_a_damaged_file_is_moved_aside(
    open_database: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database " * 1000)
    database = open_database()
    assert database.save(record())
    (aside,) = tmp_path.glob("*.damaged-*")
    assert aside.read_bytes().startswith(b"not a database")
    (line,) = caplog.records
    assert line.levelno == logging.ERROR and str(aside) in line.getMessage()


def test_damage_is_found_while_running_too(open_database: Open, tmp_path: Path) -> None:
    first = open_database()
    for number in range(50):
        first.save(record(f"resp_{number}", body=noise(9_000)))
    first.close()
    path = tmp_path / FILE_NAME
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    database = open_database()
    assert database.find("", "resp_7") is None
    assert database.save(record())
    assert database.find("", "resp_1") is not None


def test_a_damaged_record_is_told_and_costs_no_other(open_database: Open, tmp_path: Path) -> None:
    database = open_database()
    database.save(record("resp_1"))
    database.save(record("resp_2"))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        connection.execute("UPDATE responses SET body = x'00' WHERE id = 'resp_1'")
    with pytest.raises(OSError, match="resp_1 is damaged"):
        database.find("", "resp_1")
    assert database.find("", "resp_2") == record("resp_2")


def test_a_newer_file_is_left_alone(open_database: Open, tmp_path: Path) -> None:
    open_database().close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StartupError, match="newer llmd.*--state-dir"):
        open_database()


def state_in(database: ResponseDatabase) -> RecordState:
    found = database.find("", "resp_1")
    assert found is not None
    return found.state


def ids_in(directory: Path) -> list[str]:
    """What is in the file, whoever asks."""
    with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
        return [id_ for (id_,) in connection.execute("SELECT id FROM responses ORDER BY id")]
