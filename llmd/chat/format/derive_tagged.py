"""Calls with literals around each argument, read off renders of sentinels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from llmd.chat.calls.pythonic import PythonicCalls
from llmd.chat.calls.section import Section
from llmd.chat.calls.tagged import CDATA, Tagged
from llmd.chat.format.call_spans import CallSpans
from llmd.chat.format.literal_cuts import common_prefix, common_suffix
from llmd.chat.format.sentinels import KEYS, NAMES, NUMBER, VALUES


def tagged_spans(text: str) -> CallSpans | None:
    """Calls from their name to the end of their last value."""
    spans: list[tuple[int, int]] = []
    for name, value in zip(NAMES, VALUES, strict=True):
        start = text.find(name)
        end = text.find(value, max(0, start))
        if start >= 0 and end >= 0:
            spans.append((start, end + len(value)))
    return CallSpans(text, tuple(spans)) if spans else None


def tagged(section: Section, long: str, numeric: str | None, *, has_cdata: bool) -> Tagged | None:
    """The syntax of calls in `section`, whose `call_close` begins with what closes a value. `long`
    is a call with two arguments, `numeric` one with a number.
    """
    parts = _argument(long, KEYS[0], VALUES[0]), _argument(long, KEYS[1], VALUES[1])
    if parts[0] is None or parts[1] is None:
        return None
    name_end = long.index(NAMES[0]) + len(NAMES[0])
    head = long[name_end : parts[0].start]
    key_close = parts[0].key_close
    between = long[parts[0].end : parts[1].start].replace(KEYS[0], "{key}")
    behind = long[parts[1].end :].replace(KEYS[1], "{key}")
    key_open = common_suffix(head, between)
    value_close = common_prefix(between[: len(between) - len(key_open)], behind)
    name_close = head[: len(head) - len(key_open)]
    if not key_open or not value_close or not key_close.strip():
        return None
    call_close = section.call_close.replace(KEYS[0], "{key}").removeprefix(value_close)
    numbered = _argument(numeric, KEYS[0], str(NUMBER)) if numeric else None
    section = replace(section, call_close=call_close)
    calls = Tagged(section, name_close, key_open, key_close, value_close)
    numeric_key_close = numbered.key_close if numbered else key_close
    typed = _with_types(calls, numeric_key_close, has_cdata=has_cdata)
    # Quotes or CDATA alone close a value for the template, not for the reader.
    return typed if typed is not None and typed.value_close.strip() else None


@dataclass(frozen=True, slots=True)
class _Argument:
    start: int
    key_close: str
    end: int


def _argument(text: str, key: str, value: str) -> _Argument | None:
    """Where an argument stands in `text`, and what stands between its key and value."""
    start = text.find(key)
    at = text.find(value, start)
    if start < 0 or at < 0:
        return None
    return _Argument(start, text[start + len(key) : at], at + len(value))


def _with_types(calls: Tagged, numeric_key_close: str, *, has_cdata: bool) -> Tagged | None:
    """`calls` with what its `key_close` says about the types of values taken apart; None where
    that leaves nothing to tell a key from its value.
    """
    key_close, value_close = calls.key_close, calls.value_close
    if has_cdata:
        key_close = key_close.removesuffix(CDATA[0])
        value_close = value_close.removeprefix(CDATA[1])
        numeric_key_close = numeric_key_close.removesuffix(CDATA[0])
    calls = replace(calls, key_close=key_close, value_close=value_close, has_cdata=has_cdata)
    if key_close == numeric_key_close:
        return calls if key_close.strip() else None
    if numeric_key_close.strip() and key_close == f'{numeric_key_close}"':
        value_close = value_close.removeprefix('"')
        return replace(
            calls, key_close=numeric_key_close, value_close=value_close, values_are_json=True
        )
    before = common_prefix(key_close, numeric_key_close)
    behind = common_suffix(key_close, numeric_key_close)
    if not before or not behind:
        return None
    kind = key_close[len(before) : len(key_close) - len(behind)]
    return replace(calls, key_close=before, kind_close=behind, string_kind=kind)


def pythonic_spans(text: str) -> CallSpans | None:
    """Calls as Python writes them."""
    found = (
        re.search(rf"""{name}\({key}=(["']){value}\1\)""", text)
        for name, key, value in zip(NAMES, KEYS, VALUES, strict=True)
    )
    spans = tuple(each.span() for each in found if each)
    return CallSpans(text, spans) if spans else None


def pythonic(section: Section) -> PythonicCalls | None:
    """Lists of calls, or calls each between markers: elsewhere nothing says where one ends."""
    opener = (section.open or section.call_open).strip()
    closer = (section.close or section.call_close).strip()
    if opener.endswith("[") and closer.startswith("]") and opener != "[":
        return PythonicCalls((opener[:-1].strip(), closer[1:].strip()))
    if opener and closer and not section.open:
        return PythonicCalls((opener, closer), is_list=False)
    return None
