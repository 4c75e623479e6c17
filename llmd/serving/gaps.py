"""How long the readers of an answer wait from one piece of it to the next."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Seconds: upper ends of the buckets; there is one more for what is longer."""


class Gaps:
    """A histogram of the gaps within answers. Plain numbers: it is fed with every token."""

    __slots__ = ("_last", "counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        """Seconds of all gaps."""
        self._last: dict[int, float] = {}

    def note(self, index: int, now: float) -> None:
        """Choice `index` has got something, at so many seconds of a clock."""
        last = self._last.get(index)
        if last is not None:
            gap = now - last
            self.total += gap
            self.counts[bisect_left(BOUNDS, gap)] += 1
        self._last[index] = now

    def begin(self) -> None:
        """Other choices begin; what was counted stays."""
        self._last.clear()

    def add(self, other: Gaps) -> None:
        """Count those of another one too."""
        self.total += other.total
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
