"""Responses in SQLite."""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from llmd.errors import StartupError
from llmd.responses.owner import Owner
from llmd.responses.record import RecordState, ResponseRecord

logger = logging.getLogger("llmd.responses")

T = TypeVar("T")

FILE_NAME = "responses.sqlite3"

SCHEMA_VERSION = 1
"""In the file as PRAGMA user_version."""

_SCHEMA = """
CREATE TABLE responses (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    previous_id TEXT,
    owner TEXT,
    created_at REAL NOT NULL,
    used_at REAL NOT NULL,
    body BLOB NOT NULL,
    input_items BLOB NOT NULL,
    events BLOB NOT NULL
);
CREATE INDEX responses_by_use ON responses (used_at);
"""

_COLUMNS = "id, tenant, previous_id, owner, created_at, body, input_items, events"

_CHAIN = """
WITH RECURSIVE chain (link, next_link, depth) AS (
    SELECT id, previous_id, 0 FROM responses
    WHERE id = :id AND tenant = :tenant AND used_at >= :oldest
    UNION ALL
    SELECT id, previous_id, depth + 1 FROM responses JOIN chain ON id = next_link
    WHERE tenant = :tenant AND used_at >= :oldest
)
"""

USE_INTERVAL = 3600.0
"""Seconds within which a second use is not written down."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class ResponseDatabase:
    """The responses of all tenants, in a file that several daemons may share, or in memory. One
    thread at a time.

    What was not used (made, or continued) for `max_age` seconds is gone; beyond `max_bytes` what
    was used longest ago goes first. A write is in the file (WAL, synchronous=FULL) when its method
    returns. A file that is found damaged is moved aside, and an empty one takes its place.
    Methods raise sqlite3.Error or OSError, for a full disk say.
    """

    def __init__(
        self, directory: Path | None, *, max_age: float, max_bytes: int, clock: Callable[[], float]
    ) -> None:
        """Without a `directory`, in memory. `clock` counts seconds since the epoch."""
        self.path = None if directory is None else directory / FILE_NAME
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._clock = clock
        self._owner = Owner(directory)
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Done by the first use too; raises StartupError for a file of a newer llmd."""

        def prune(connection: sqlite3.Connection) -> None:
            with connection:
                self._forget_old(connection)

        self._whole(prune)

    def save(self, record: ResponseRecord) -> bool:
        """Keep a response, in place of what is kept under its id. False where it alone would take
        more than half of `max_bytes`.
        """
        owner = None
        if record.state is RecordState.RUNNING:
            self._owner.announce()
            owner = self._owner.name
        texts = (record.body, record.input_items, record.events)
        blobs = tuple(zlib.compress(text, 1) for text in texts)
        if sum(map(len, blobs)) > self._max_bytes // 2:
            return False
        now = self._clock()
        row = (record.id, record.tenant, record.previous_id, owner, record.created_at, now, *blobs)

        def insert(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute(
                    "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row
                )
                self._forget_old(connection, kept=record.id)
            connection.execute("PRAGMA incremental_vacuum").fetchall()

        self._whole(insert)
        return True

    def find(self, tenant: str, response_id: str) -> ResponseRecord | None:
        """None for another tenant's too."""
        query = f"SELECT {_COLUMNS} FROM responses WHERE id = ? AND tenant = ? AND used_at >= ?"
        values = (response_id, tenant, self._clock() - self._max_age)
        row = self._whole(lambda connection: connection.execute(query, values).fetchone())
        return None if row is None else self._record(*row)

    def chain(self, tenant: str, response_id: str, *, is_use: bool = True) -> list[ResponseRecord]:
        """A response and all that it continues, the oldest first. Where one of them is gone the
        first that is left still has a `previous_id`. Counts as a use of each if it `is_use`.
        """
        names = {"id": response_id, "tenant": tenant, "now": self._clock()}
        names |= {"oldest": self._clock() - self._max_age, "recent": self._clock() - USE_INTERVAL}
        query = (
            f"{_CHAIN} SELECT {_COLUMNS} FROM chain JOIN responses ON id = link ORDER BY depth DESC"
        )

        def read(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
            with connection:
                rows = connection.execute(query, names).fetchall()
                if is_use:
                    connection.execute(
                        f"{_CHAIN} UPDATE responses SET used_at = :now WHERE id IN "
                        "(SELECT link FROM chain) AND used_at <= :recent",
                        names,
                    )
            return rows

        return [self._record(*row) for row in self._whole(read)]  # type: ignore[arg-type]

    def delete(self, tenant: str, response_id: str) -> bool:
        """False where there was none."""

        def remove(connection: sqlite3.Connection) -> int:
            with connection:
                return connection.execute(
                    "DELETE FROM responses WHERE id = ? AND tenant = ?", (response_id, tenant)
                ).rowcount

        return self._whole(remove) > 0

    def close(self) -> None:
        """Idempotent; a later use would open it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._owner.close()

    def _record(
        self,
        response_id: str,
        tenant: str,
        previous_id: str | None,
        owner: str | None,
        created_at: float,
        *blobs: bytes,
    ) -> ResponseRecord:
        state = RecordState.FINISHED
        if owner is not None:
            state = RecordState.RUNNING if self._owner.is_alive(owner) else RecordState.LOST
        try:
            body, input_items, events = map(zlib.decompress, blobs)
        except zlib.error as error:
            raise OSError(f"the stored response {response_id} is damaged ({error})") from error
        return ResponseRecord(
            id=response_id,
            tenant=tenant,
            created_at=created_at,
            body=body,
            input_items=input_items,
            previous_id=previous_id,
            events=events,
            state=state,
        )

    def _whole(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` on the file, and once more on an empty one where it proves damaged."""
        try:
            return work(self._connected())
        except sqlite3.DatabaseError as error:
            if self.path is None or _error_code(error) not in _DAMAGED:
                raise
            self._move_aside(self.path, error)
        return work(self._connected())

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            if self.path is None:
                target = ":memory:"
            else:
                target = str(self.path)
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # SQLite gives the files beside it the same mode: they hold conversations.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(target, check_same_thread=False, timeout=10)
            try:
                _prepare(connection, target)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _forget_old(self, connection: sqlite3.Connection, kept: str = "") -> None:
        oldest = self._clock() - self._max_age
        connection.execute("DELETE FROM responses WHERE used_at < ?", (oldest,))
        while _num_bytes(connection) > self._max_bytes:
            # Several at once; those of a daemon that died go by their age.
            gone = connection.execute(
                "DELETE FROM responses WHERE id IN (SELECT id FROM responses WHERE id != ? AND "
                "owner IS NULL ORDER BY used_at LIMIT (SELECT 1 + COUNT(*) / 50 FROM responses))",
                (kept,),
            )
            if gone.rowcount == 0:
                break

    def _move_aside(self, path: Path, error: sqlite3.DatabaseError) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        aside = path.with_name(f"{path.name}.damaged-{int(self._clock())}")
        os.replace(path, aside)
        for ending in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.replace(f"{path}{ending}", f"{aside}{ending}")
        logger.error(
            "the stored responses in %s are damaged (%s); they were moved to %s, and llmd goes on "
            "with none",
            path,
            error,
            aside,
        )


def _prepare(connection: sqlite3.Connection, target: str) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StartupError(
            f"{target} was written by a newer llmd (schema {version}; this one knows "
            f"{SCHEMA_VERSION}). Upgrade llmd, or choose another --state-dir."
        )
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    if version == 0:
        # Another daemon may be at the same; it has to be done by one alone.
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _error_code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 for an error of the Python module's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _num_bytes(connection: sqlite3.Connection) -> int:
    """What the rows take; pages that deleted ones left behind are used again."""
    count, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((count - free) * size)
