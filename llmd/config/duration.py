"""Lengths of time as people write them."""

from __future__ import annotations

import math
import re
from fractions import Fraction

MAX_SECONDS = 3650 * 86_400
"""Ten years."""

NEVER = math.inf
"""Seconds after which nothing ever happens."""

_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_NUMBER = r"\d+(?:\.\d+)?"
_PLAIN = re.compile(_NUMBER)
_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_NUMBER}(?:ms|s|m|h|d))+")


class Duration(float):
    """A number of seconds. Takes numbers, and texts such as `90`, `90s`, `15m` or `1h30m`, in the
    units ms, s, m, h and d.
    """

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Raises ValueError for what is no duration, is negative, or is more than MAX_SECONDS."""
        seconds = _seconds(value)
        if not 0 <= seconds <= MAX_SECONDS:
            raise ValueError(f"not from 0 to {MAX_SECONDS} seconds")
        return cls(seconds)

    def __str__(self) -> str:
        """In whole units, the largest first; read back it is the same."""
        left, text = round(self * 1000), ""
        for unit, size in _MILLISECONDS.items():
            count, left = divmod(left, size)
            text += f"{count}{unit}" if count else ""
        return text or "0"


def parse_keep_alive(value: object) -> float:
    """Seconds that a model stays loaded after its last use, as Ollama's clients send them: a
    duration, 0 for not at all, or a negative one for NEVER ending. Raises ValueError.
    """
    if isinstance(value, str) and value.strip().startswith("-"):
        Duration.parse(value.strip()[1:])
        return NEVER
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return NEVER
    return float(Duration.parse(value))


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        text = value.replace(" ", "")
        if _PLAIN.fullmatch(text):
            return float(text)
        if _WHOLE.fullmatch(text):
            parts = (Fraction(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(text))
            return float(sum(parts) / 1000)
    raise ValueError("not a duration such as 90s, 15m or 1h30m")
