"""Where a key stands in a TOML text; tomllib keeps no positions."""

from __future__ import annotations

import re

from llmd.config.keys import Key

_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_KEY})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_KEY})\s*=")


def line_of(text: str, key: Key) -> int | None:
    """The line, from 1, that sets `key`, else the line of the table around it (inline or not); None
    where the text has neither.
    """
    table: Key = ()
    nearest, nearest_length = None, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            here = table = _parts(header[1])
        elif assignment := _ASSIGNMENT.match(line):
            here = (*table, *_parts(assignment[1]))
        else:
            continue
        if here == key:
            return number
        if key[: len(here)] == here and len(here) > nearest_length:
            nearest, nearest_length = number, len(here)
    return nearest


def _parts(text: str) -> Key:
    return tuple(part.strip("\"'") for part in re.findall(_PART, text))
