"""How fast something goes, as observed."""

from __future__ import annotations

WEIGHT = 0.2
"""Of a new observation against all before it."""


class Rate:
    """An exponential average of amounts per second, from observations of any size."""

    def __init__(self) -> None:
        self._amount = 0.0
        self._seconds = 0.0

    def observe(self, amount: float, seconds: float) -> None:
        """Both are averaged, so that a large observation counts for more than a small one."""
        if amount <= 0 or seconds <= 0:
            return
        known = 1 - WEIGHT if self._seconds else 0.0
        self._amount = known * self._amount + (1 - known) * amount
        self._seconds = known * self._seconds + (1 - known) * seconds

    @property
    def is_known(self) -> bool:
        return self._seconds > 0

    def seconds(self, amount: float) -> float:
        """How long an amount is likely to take; 0 while nothing is known."""
        return amount * self._seconds / self._amount if self._seconds else 0.0
