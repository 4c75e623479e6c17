"""How much work an engine takes on."""

from __future__ import annotations

import math
from collections import deque

from llmd.errors import QueueFull

NUM_RECENT = 32
"""Finished requests that an estimate of the next ones' duration goes by."""

LONGEST_RETRY_AFTER = 60
"""Seconds: from 120 on OpenAI's clients do not come back at all."""


class Admission:
    """How many sequences may be unfinished at a time, and when who is refused should come back.
    Event loop only.
    """

    def __init__(self, max_queue: int) -> None:
        """`max_queue` sequences may wait beside those that run."""
        self.max_queue = max_queue
        self._num_running: int | None = None
        self._seconds: deque[float] = deque(maxlen=NUM_RECENT)

    def open(self, num_running: int) -> None:
        """The model is loaded, and runs so many sequences together."""
        self._num_running = num_running

    def check(self, num_unfinished: int, num_new: int) -> None:
        """Raises QueueFull where `num_new` sequences are too many beside the unfinished ones. Alone
        they never are: they could not come at a better time.
        """
        if self._num_running is None or num_unfinished == 0:
            return
        most = self._num_running + self.max_queue
        if num_unfinished + num_new > most:
            seconds = self.retry_after
            raise QueueFull(
                f"the queue is full: {num_unfinished} answers are under way or wait, and at most "
                f"{most} may. Try again in {seconds} s, or start llmd with a larger --max-queue.",
                retry_after=seconds,
            )

    def note_finished(self, seconds: float) -> None:
        """A request took so long, its waiting included."""
        self._seconds.append(seconds)

    @property
    def retry_after(self) -> int:
        """Seconds in which about as many requests finish as are unfinished now: by Little's law
        that is how long one takes.
        """
        mean = sum(self._seconds) / max(1, len(self._seconds))
        return min(max(1, math.ceil(mean)), LONGEST_RETRY_AFTER)
