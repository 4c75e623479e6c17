"""The access log, as a test waits for its lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

from live import PATIENCE

LOGGER = logging.getLogger("llmd.access")


class AccessLines(logging.Handler):
    """Lines are logged when an answer is over: its client may have read it before."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._records: Queue[logging.LogRecord] = Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._records.put(record)

    def next(self) -> Any:
        """The record of the next request that is over."""
        return self._records.get(timeout=PATIENCE)

    def is_empty(self) -> bool:
        return self._records.empty()


@contextmanager
def access_lines() -> Iterator[AccessLines]:
    """Those of all levels, in this process."""
    lines, level = AccessLines(), LOGGER.level
    LOGGER.addHandler(lines)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        LOGGER.removeHandler(lines)
        LOGGER.setLevel(level)
