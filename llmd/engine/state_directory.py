"""The directory of the state files, which several daemons may share."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from operator import attrgetter
from pathlib import Path
from secrets import token_hex

_FILE_NAME = re.compile(r"[0-9a-f]+-[0-9a-f]+\.state")
_TEMPORARY_NAME = re.compile(r"[0-9a-f]+-[0-9a-f]+\.state\.[0-9a-f]+\.tmp")

ABANDONED_SECONDS = 60.0
"""Age from which a temporary file that nobody has locked is taken to be a dead daemon's."""

LISTED_SECONDS = 10.0
"""How long a count of all bytes is believed, to which other daemons may have added."""

SPARE_SHARE = 0.05
"""Of the capacity, freed beyond what is needed, so that not every file needs a look at all."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A state file as the directory shows it; `used_at` counts seconds since the epoch."""

    path: Path
    num_bytes: int
    used_at: float


class StateDirectory:
    """At most `capacity` bytes of state files in one directory, whoever wrote them. Any thread.

    A file appears whole, by a rename, and its time of modification is when it was last used. Files
    with other names are not its business: they are neither counted nor touched. Daemons that share
    a directory may exceed the capacity by what they write within LISTED_SECONDS. All methods may
    raise OSError.
    """

    def __init__(self, path: Path, capacity: int, clock: Callable[[], float]) -> None:
        """`clock` counts seconds since the epoch."""
        self.path = path
        self.capacity = capacity
        self._clock = clock
        # When last listed, and written since: an estimate, where two threads or daemons write.
        self._num_bytes = 0
        self._listed_at: float | None = None

    def check(self) -> bool:
        """Make the directory where there is none, and try to write in it. False where everybody
        may write there.
        """
        self._make()
        temporary = self._temporary_path(self.path / "0-0.state")
        os.close(_create(temporary))
        temporary.unlink()
        return not self.path.stat().st_mode & stat.S_IWOTH

    def files(self) -> list[FoundFile]:
        """Whole files, least recently used first. What a dead daemon left half done is removed."""
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                if _FILE_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found.append(FoundFile(Path(entry.path), status.st_size, status.st_mtime))
                elif _TEMPORARY_NAME.fullmatch(entry.name):
                    self._sweep(Path(entry.path))
        return sorted(found, key=attrgetter("used_at"))

    def make_room(self, num_bytes: int) -> None:
        """Remove what was used least recently, where `num_bytes` more would not fit in."""
        self._make()
        if self._is_count_old() or self._num_bytes + num_bytes > self.capacity:
            self.trim(num_bytes)

    def trim(self, num_bytes: int = 0) -> list[FoundFile]:
        """The same after a look at all files; returns those that stay, as `files` does."""
        listed_at = self._clock()
        files = self.files()
        total = sum(file.num_bytes for file in files)
        if total + num_bytes > self.capacity:
            allowed = self.capacity * (1 - SPARE_SHARE) - num_bytes
            # First whatever could never fit, so that it does not cost all the others.
            for file in sorted(files, key=lambda each: each.num_bytes <= self.capacity):
                if total <= allowed:
                    break
                self.remove(file.path)
                files.remove(file)
                total -= file.num_bytes
        self._num_bytes, self._listed_at = total, listed_at
        return files

    @contextmanager
    def replace(self, path: Path, used_at: Callable[[], float]) -> Iterator[BufferedWriter]:
        """Write a file that takes its place when all of it is written, or never."""
        # Without fsync: the checksums find out what a power failure has left half done.
        temporary = self._temporary_path(path)
        try:
            with open(_create(temporary), "wb") as file:
                # Held as long as the file is open, and by the kernel for no longer than this
                # process lives: it tells others that this is no leftover. Not all file systems
                # can; then leftovers stay.
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield file
                file.flush()
                _set_time(file.fileno(), used_at())
                os.replace(temporary, path)
                self._num_bytes += file.tell()
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def open(self, path: Path) -> BufferedReader:
        """Raises FileNotFoundError where it was removed, perhaps by another daemon."""
        return open(path, "rb", opener=_open_plain)

    def touch(self, path: Path) -> None:
        """Count a file as used now."""
        with suppress(FileNotFoundError):
            _set_time(path, self._clock())

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _is_count_old(self) -> bool:
        if self._listed_at is None:
            return True
        return not 0 <= self._clock() - self._listed_at < LISTED_SECONDS

    def _make(self) -> None:
        os.makedirs(self.path, mode=0o700, exist_ok=True)

    def _temporary_path(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.{token_hex(8)}.tmp")

    def _sweep(self, temporary: Path) -> None:
        """Remove a temporary file if its writer is dead."""
        # Also where it is gone by now, belongs to somebody else, or is locked.
        with suppress(OSError), self.open(temporary) as file:
            # A new one may be about to be locked.
            if self._clock() - os.fstat(file.fileno()).st_mtime >= ABANDONED_SECONDS:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.unlink()


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _open_plain(path: str, flags: int) -> int:
    # Neither follow a link out of the directory nor wait at a pipe.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _set_time(file: Path | int, seconds: float) -> None:
    nanoseconds = round(seconds * 1e9)
    os.utime(file, ns=(nanoseconds, nanoseconds))
