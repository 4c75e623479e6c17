"""Cutting the literal texts of a template where they repeat, but never inside a marker."""

from __future__ import annotations

import os.path
import re

_MARKER = re.compile(r"<[^<>\n]*>|\[/?[A-Z][A-Z_]*\]")
_PAIRS = (("start", "end"), ("begin", "end"), ("open", "close"), ("prefix", "suffix"))
_THOUGHT_MARKER = re.compile(
    r"[<\[][^<>\[\]\s]{0,24}?(?:think|thought|reason|inner)[^<>\[\]\s]{0,24}?[>\]]", re.IGNORECASE
)


def common_prefix(first: str, second: str) -> str:
    """The longest text that both begin with and that ends between markers and words of both;
    empty where it would be blank.
    """
    length = len(os.path.commonprefix((first, second)))
    while length and not (_may_cut(first, length) and _may_cut(second, length)):
        length -= 1
    return first[:length] if first[:length].strip() else ""


def common_suffix(first: str, second: str) -> str:
    """The longest text that both end with; otherwise like `common_prefix`."""
    length = len(os.path.commonprefix((first[::-1], second[::-1])))
    while length and not (
        _may_cut(first, len(first) - length) and _may_cut(second, len(second) - length)
    ):
        length -= 1
    suffix = first[len(first) - length :]
    return suffix if suffix.strip() else ""


def _may_cut(text: str, position: int) -> bool:
    if 0 < position < len(text):
        # Neither amid a word, nor before what closes a marker that begins further in front.
        if (text[position - 1] + text[position]).isalnum() or text[position] == ">":
            return False
    return not any(m.start() < position < m.end() for m in _MARKER.finditer(text))


def counterpart(marker: str, text: str) -> str | None:
    """The marker in `text` that closes what `marker` opens, by the usual ways to name both."""
    candidates = [marker.replace("<", "</", 1), marker.replace("[", "[/", 1)]
    candidates += (
        marker.replace(change(opening), change(closing), 1)
        for opening, closing in _PAIRS
        for change in (str.lower, str.upper)
    )
    return next((c for c in candidates if c != marker and c in text), None)


def thought_tags(text: str) -> tuple[str, str] | None:
    """The first marker in `text` whose name speaks of thinking and that is closed there, with its
    closer.
    """
    for found in _THOUGHT_MARKER.finditer(text):
        close = counterpart(found.group(), text)
        if close is not None:
            return found.group(), close
    return None


def thought_closer(opener: str, source: str) -> str | None:
    """What closes `opener` if its name speaks of thinking: as `source` has it, else as usual."""
    if not _THOUGHT_MARKER.fullmatch(opener):
        return None
    return counterpart(opener, source) or f"{opener[0]}/{opener[1:]}"
