"""Looking for markers in a text that arrives in pieces."""

from __future__ import annotations

import re
from functools import lru_cache


def find_first(
    text: str, markers: tuple[str, ...], *, is_over: bool = False
) -> tuple[int, str] | None:
    """Where the earliest of `markers` starts in `text`, and which; of several at one place the
    longest. While the text may still turn a marker into a longer one, that is not found yet,
    unless the text `is_over`. Empty markers are never found.
    """
    found = _pattern(markers).search(text)
    if found is None:
        return None
    start = found.start()
    if not is_over:
        _, prefixes, longest = _prefixes(markers)
        if len(text) - start <= longest and text[start:] in prefixes:
            return None
    return start, found.group()


def num_held(text: str, markers: tuple[str, ...]) -> int:
    """The length of the longest tail of `text` that may still become one of `markers`: that much
    is held back until more text decides.
    """
    firsts, prefixes, longest = _prefixes(markers)
    start = max(0, len(text) - longest)
    while found := firsts.search(text, start):
        start = found.start()
        if text[start:] in prefixes:
            return len(text) - start
        start += 1
    return 0


@lru_cache(maxsize=512)
def first_characters(markers: tuple[str, ...]) -> re.Pattern[str]:
    """Finds where any of `markers` may begin: text in which it finds nothing is plain."""
    firsts = "|".join(re.escape(first) for first in sorted({m[0] for m in markers if m}))
    return re.compile(firsts or r"(?!)")


@lru_cache(maxsize=512)
def _pattern(markers: tuple[str, ...]) -> re.Pattern[str]:
    by_length = sorted(filter(None, markers), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, by_length)) or r"(?!)")


@lru_cache(maxsize=512)
def _prefixes(markers: tuple[str, ...]) -> tuple[re.Pattern[str], frozenset[str], int]:
    """The first characters, all proper prefixes, and the length of the longest of these."""
    prefixes = frozenset(marker[:end] for marker in markers for end in range(1, len(marker)))
    return first_characters(markers), prefixes, max(map(len, prefixes), default=0)
