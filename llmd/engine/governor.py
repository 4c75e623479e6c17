"""How many threads compute, while other programs want the processors too."""

from __future__ import annotations

from collections.abc import Callable

INTERVAL = 0.5
"""Seconds between two looks at the machine; the kernel counts in hundredths."""


class ThreadGovernor:
    """Leaves busy processors to those who are busy. Engine thread only.

    The threads of a decode wait for each other hundreds of times per token. Spinning is by far the
    fastest way to wait on a quiet machine. But once another program takes a processor from one of
    them, all wait for it, and the whole decode runs several times slower than it would on one
    thread less. So the threads spin, and there are only as many as there are free processors;
    benchmarks/README.md has the measurements.
    """

    def __init__(
        self,
        max_threads: int,
        num_processors: int,
        *,
        busy_seconds: Callable[[], float | None],
        own_seconds: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """`busy_seconds` counts the work of everybody on `num_processors` processors (None: not
        known, then `max_threads` stay), `own_seconds` this process's share of it.
        """
        self._max_threads = max_threads
        self._num_processors = num_processors
        self._busy_seconds = busy_seconds
        self._own_seconds = own_seconds
        self._clock = clock
        self._num_threads = max_threads
        self._read_at = clock()
        self._last = self._read()

    def num_threads(self) -> int:
        """For the next decode: 1 to `max_threads`. Cheap to ask before each one."""
        now = self._clock()
        elapsed = now - self._read_at
        if elapsed < INTERVAL:
            return self._num_threads
        self._read_at = now
        before, self._last = self._last, self._read()
        if before is not None and self._last is not None:
            num_taken = max(0.0, self._last - before) / elapsed
            num_free = int(self._num_processors - num_taken + 0.5)
            self._num_threads = max(1, min(self._max_threads, num_free))
        return self._num_threads

    def _read(self) -> float | None:
        """Seconds of work of all others."""
        busy = self._busy_seconds()
        return None if busy is None else busy - self._own_seconds()
