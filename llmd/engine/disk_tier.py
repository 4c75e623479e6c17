"""Computed prefixes on disk, where they outlive the daemon."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from llmd.engine import state_file
from llmd.engine.radix import Tokens
from llmd.engine.state_directory import StateDirectory
from llmd.engine.state_file import DamagedFile, Header
from llmd.errors import ConfigError
from llmd.llama.context import State

logger = logging.getLogger("llmd.engine")

MAX_BACKLOG = 512 << 20
"""Bytes that may wait to be written; they are held in memory meanwhile."""

RETRY_SECONDS = 60.0
"""How long nothing is written after the disk failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrefix:
    """A state on disk: that of `tokens[start:]`, where `tokens` is the whole way from the root.

    `num_bytes` is the size of the file. `used_at` counts seconds since the epoch, and is what was
    known when this was made.
    """

    scope: str
    tokens: Tokens = field(compare=False, repr=False)  # `path` is made of them
    start: int
    has_checkpoint: bool
    path: Path
    num_bytes: int
    used_at: float = field(compare=False)


@dataclass(slots=True, eq=False)
class _Save:
    """A state on its way to the disk. The writer takes `payload` away when it is written or lost,
    and reads `used_at` last.
    """

    header: Header
    path: Path
    payload: tuple[State, State | None] | None
    used_at: float
    written: futures.Future[None] = field(init=False)


class DiskTier:
    """States of one model's prefixes, in a directory that other models and daemons may share.

    Engine thread only. One thread of its own writes and removes files, in order: `_write` and
    `_remove` run there. States handed over are not copied: nobody may change them any more, nor
    what comes back.

    A cache never breaks what it speeds up: a file that is gone, damaged or not readable is a miss,
    and a disk that fails is reported once, and tried again after RETRY_SECONDS.
    """

    def __init__(
        self,
        directory: Path,
        fingerprint: str,
        capacity: int,
        clock: Callable[[], float],
        *,
        max_backlog: int = MAX_BACKLOG,
    ) -> None:
        """Only states with the same `fingerprint` are ever read. `capacity` bounds the bytes of all
        state files in the directory; of daemons that share it, the least one's rules. `clock`
        counts seconds since the epoch, and is asked by both threads. Raises ConfigError where the
        directory cannot be made or written.
        """
        self._directory = StateDirectory(directory, capacity, clock)
        self._fingerprint = fingerprint
        self._capacity = capacity
        self._clock = clock
        self._max_backlog = max_backlog
        identity = f"{state_file.VERSION} {fingerprint}"
        self._model = blake2b(identity.encode(), digest_size=8).hexdigest()
        self._pending: dict[Path, _Save] = {}
        self._failed_at: float | None = None  # set by the writer
        self._reported: set[str] = set()  # by both
        self._check()
        self._writer = futures.ThreadPoolExecutor(1, thread_name_prefix="llmd-disk")

    def scan(self) -> list[StoredPrefix]:
        """All that is stored for this fingerprint, least recently used first, after removing what
        is damaged or beyond the capacity. Reads headers only.
        """
        try:
            files = self._directory.trim()
        except OSError as error:
            self._report("read", error)
            return []
        found = []
        for file in files:
            if file.path.name.startswith(f"{self._model}-"):
                header = self._read_header(file.path)
                if header is not None:
                    found.append(_describe(header, file.path, file.used_at))
        return found

    def save(
        self,
        scope: str,
        tokens: Tokens,
        start: int,
        span: State,
        checkpoint: State | None = None,
        *,
        wait: bool = False,
    ) -> StoredPrefix | None:
        """Store the state of `tokens[start:]`, in place of an older one of the same.

        Returns before anything is written; what it returns can be loaded at once. None where it
        would never fit, while the disk fails, or while too much waits to be written already: with
        `wait` that is waited for.
        """
        header = Header(
            fingerprint=self._fingerprint,
            scope=scope,
            tokens=tokens.copy(),
            start=start,
            span_size=span.size,
            checkpoint_size=None if checkpoint is None else checkpoint.size,
        )
        if header.num_bytes > self._capacity or not self._has_room(header.num_bytes, wait):
            return None
        if self._is_failing():
            return None
        path = self._directory.path / self._file_name(header)
        self._cancel(path)
        save = _Save(header, path, (span, checkpoint), self._clock())
        save.written = self._writer.submit(self._write, save)
        self._pending[path] = save
        return _describe(header, path, save.used_at)

    def load(self, stored: StoredPrefix) -> tuple[State, State | None] | None:
        """The span and, if it was saved with one, the checkpoint. None where the file is gone, or
        is not bit by bit what was saved; then it is removed.
        """
        save = self._pending.get(stored.path)
        parts = None if save is None else save.payload
        if parts is None:
            parts = self._read_parts(stored)
        if parts is not None:
            self.touch(stored)
        return parts

    def touch(self, stored: StoredPrefix) -> None:
        """Count it as used now: it stays longer than whatever was used before."""
        save = self._pending.get(stored.path)
        if save is not None:
            save.used_at = self._clock()
        try:
            self._directory.touch(stored.path)
        except OSError as error:
            self._report("use", error)

    def remove(self, stored: StoredPrefix) -> None:
        """Forget it; the file goes after what waits to be written."""
        self._cancel(stored.path)
        self._writer.submit(self._remove, stored.path)

    def close(self) -> None:
        """Wait until everything is written. Nothing may be saved or removed afterwards."""
        self._writer.shutdown()
        self._settle()

    def _check(self) -> None:
        try:
            is_private = self._directory.check()
        except OSError as error:
            raise ConfigError(
                f"cannot keep prefixes in {self._directory.path}: {error.strerror}. {_cure(error)}"
            ) from error
        if not is_private:
            logger.warning(
                "everybody can put files into %s, which would be taken for computed prefixes. "
                "Remove that right with chmod o-w, or choose another --cache-dir.",
                self._directory.path,
            )

    def _file_name(self, header: Header) -> str:
        """Made of all that a state is the state of, so that it is stored once."""
        key = blake2b(repr((header.scope, header.start)).encode(), digest_size=16)
        key.update(header.tokens.data)
        return f"{self._model}-{key.hexdigest()}.state"

    def _has_room(self, num_bytes: int, wait: bool) -> bool:
        """Whether as much may wait to be written besides what does. What exceeds the bound by
        itself may wait alone.
        """
        while True:
            self._settle()
            backlog = sum(save.header.num_bytes for save in self._pending.values())
            if not backlog or backlog + num_bytes <= self._max_backlog:
                return True
            if not wait:
                return False
            futures.wait([next(iter(self._pending.values())).written])

    def _settle(self) -> None:
        """Forget what is written by now."""
        for path, save in list(self._pending.items()):
            if save.written.done():
                del self._pending[path]
                crash = save.written.exception()
                if crash is not None:
                    logger.error("writing %s crashed", path, exc_info=crash)

    def _cancel(self, path: Path) -> None:
        save = self._pending.pop(path, None)
        if save is not None and save.written.cancel():
            save.payload = None  # the writer's queue still holds the rest

    def _write(self, save: _Save) -> None:
        assert save.payload is not None
        try:
            if self._is_failing():
                return
            self._directory.make_room(save.header.num_bytes)
            with self._directory.replace(save.path, lambda: save.used_at) as file:
                state_file.write(file, save.header, *save.payload)
            self._failed_at = None
            self._reported.discard("write")
        except OSError as error:
            self._failed_at = self._clock()
            self._report("write", error)
        finally:
            save.payload = None

    def _remove(self, path: Path) -> None:
        try:
            self._directory.remove(path)
        except OSError as error:
            self._report("remove", error)

    def _read_header(self, path: Path) -> Header | None:
        with self._as_miss(path), self._directory.open(path) as file:
            header = state_file.read_header(file)
            if header.fingerprint != self._fingerprint or self._file_name(header) != path.name:
                raise DamagedFile("it is not what its name says")
            return header
        return None

    def _read_parts(self, stored: StoredPrefix) -> tuple[State, State | None] | None:
        with self._as_miss(stored.path), self._directory.open(stored.path) as file:
            header = state_file.read_header(file)
            if not header.describes(self._fingerprint, stored.scope, stored.tokens, stored.start):
                raise DamagedFile("it is not what its name says")
            return state_file.read_payload(file, header)
        return None

    @contextmanager
    def _as_miss(self, path: Path) -> Iterator[None]:
        """Makes a miss of whatever keeps a file from being read."""
        try:
            yield
        except FileNotFoundError:
            pass
        except DamagedFile as damage:
            logger.warning("removed %s, as %s", path, damage)
            self._remove(path)
        except MemoryError:
            logger.warning("there is not enough memory to read %s", path)
        except OSError as error:
            self._report("read", error)

    def _is_failing(self) -> bool:
        now, failed_at = self._clock(), self._failed_at
        return failed_at is not None and 0 <= now - failed_at < RETRY_SECONDS

    def _report(self, verb: str, error: OSError) -> None:
        """Say once that the disk fails."""
        if verb not in self._reported:
            self._reported.add(verb)
            logger.error(
                "cannot %s computed prefixes in %s: %s. llmd goes on without them. %s",
                verb,
                self._directory.path,
                error.strerror,
                _cure(error),
            )


def _describe(header: Header, path: Path, used_at: float) -> StoredPrefix:
    return StoredPrefix(
        scope=header.scope,
        tokens=header.tokens,
        start=header.start,
        has_checkpoint=header.checkpoint_size is not None,
        path=path,
        num_bytes=header.num_bytes,
        used_at=used_at,
    )


def _cure(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space there, or choose another --cache-dir."
    return "Choose a --cache-dir that llmd can write to."
