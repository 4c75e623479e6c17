"""One process at a time writes a blob of the cache."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_INTERVAL = 0.2
"""Seconds between two looks at a lock that somebody else holds."""


@contextmanager
def blob_lock(path: Path, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock at `path`, the one that huggingface_hub takes too. While another process has
    it, `while_waiting` is called again and again, and has to let time pass. The kernel lets go of
    it however a process ends. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        while not _taken(descriptor):
            while_waiting()
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock right now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _taken(descriptor)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks. Two who write the same blob write the same bytes to the same
        # places, so that costs only time.
        return True
    return True
