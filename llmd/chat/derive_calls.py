"""How a template writes calls, read off renders of sentinels: the words are taken out and what is
left are the literals.

Three shapes: the name and the arguments within one JSON object; the arguments alone as JSON; each
argument between literals of its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from llmd.chat.calls.base import CallSyntax
from llmd.chat.calls.json_objects import JsonObjects, Path, Slot
from llmd.chat.calls.named_json import NamedJson
from llmd.chat.calls.pythonic import PythonicCalls
from llmd.chat.calls.section import Section, chunks
from llmd.chat.calls.tagged import Tagged
from llmd.chat.literal_cuts import common_prefix, common_suffix
from llmd.chat.sentinels import ANSWER, IDS, KEYS, NAMES, NUMBER, VALUES, Call, CallForm, Sentinels

ONE_CALL = (Call(0, {KEYS[0]: VALUES[0]}),)
_TWO = (*ONE_CALL, Call(1, {KEYS[1]: VALUES[1]}))
_LONG = (Call(0, {KEYS[0]: VALUES[0], KEYS[1]: VALUES[1]}),)
_NUMERIC = (Call(0, {KEYS[0]: NUMBER}),)
_CDATA = ("<![CDATA[", "]]>")


@dataclass(frozen=True, slots=True)
class DerivedCalls:
    """`ends` end a turn with calls. `joint` stands between a text and calls, where these are a
    message of their own.
    """

    syntax: CallSyntax
    ends: tuple[str, ...]
    joint: str


@dataclass(frozen=True, slots=True)
class _Spans:
    """The text of a message of calls and where each call stands in it."""

    text: str
    calls: tuple[tuple[int, int], ...]

    @property
    def before(self) -> str:
        return self.text[: self.calls[0][0]]

    @property
    def between(self) -> str | None:
        if len(self.calls) < 2:
            return None
        return self.text[self.calls[0][1] : self.calls[1][0]]

    @property
    def behind(self) -> str:
        return self.text[self.calls[-1][1] :]

    @property
    def first(self) -> str:
        return self.text[slice(*self.calls[0])]


class CallDerivation:
    """Derives the call syntax of one template, which writes calls in `form`."""

    def __init__(self, sentinels: Sentinels, form: CallForm, source: str) -> None:
        self._sentinels = sentinels
        self._form = form
        self._source = source
        self.one = sentinels.calls(form, ONE_CALL) or ""
        self.two = sentinels.calls(form, _TWO)

    def derive(
        self, leads: tuple[str, ...], ends: tuple[str, ...], content_close: str
    ) -> DerivedCalls | None:
        """None where calls have no marker in front or no shape that is known. `leads` may stand
        in front of the calls, `ends` behind them.
        """
        text = self.two or self.one
        for find in (_object_spans, self._named_spans, _pythonic_spans, _tagged_spans):
            spans = find(text)
            if spans is not None:
                break
        else:
            return None
        section, call_ends = _section(spans, leads, ends)
        if not chunks(section.open + section.call_open)[:1]:
            return None
        first = chunks(section.open + section.call_open)[0]
        if first in ("[", "{", "[{") or not any(map(str.isalnum, first)):
            return None
        if find is _object_spans:
            syntax: CallSyntax | None = _json_objects(section, spans.first)
        elif find is _pythonic_spans:
            syntax = _pythonic(section)
        elif find is _tagged_spans:
            syntax = self._tagged(section, spans)
        else:
            syntax = _named_json(section, spans.first)
        if syntax is None:
            return None
        return DerivedCalls(syntax, call_ends, self._joint(section, content_close))

    def _joint(self, section: Section, content_close: str) -> str:
        text = self._sentinels.calls(self._form, ONE_CALL, content=ANSWER) or ""
        between = text.partition(ANSWER)[2]
        opener = chunks(section.open + section.call_open)[0]
        if opener not in between:
            return ""
        return between.partition(opener)[0].strip().removeprefix(content_close).strip()

    def _named_spans(self, text: str) -> _Spans | None:
        spans = []
        position = 0
        for number in range(2 if self.two else 1):
            name = text.find(NAMES[number], position)
            found = _json_around(text, VALUES[number], start=name)
            if name < 0 or found is None or not isinstance(found[2], dict):
                return None
            id = text.find(IDS[number], position)
            start = id if position <= id < name else name
            spans.append((start, found[1]))
            position = found[1]
        return _Spans(text, tuple(spans))

    def _tagged(self, section: Section, spans: _Spans) -> Tagged | None:
        long = self._sentinels.calls(self._form, _LONG)
        numeric = self._sentinels.calls(self._form, _NUMERIC)
        first = _argument(spans.text, KEYS[0], VALUES[0])
        if long is None or first is None:
            return None
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
        section = _with_call_close(section, call_close)
        return _tagged_values(
            Tagged(section, name_close, key_open, key_close, value_close),
            numbered.key_close if numbered else key_close,
            has_cdata=_CDATA[0] in self._source,
        )


def _with_call_close(section: Section, call_close: str) -> Section:
    return Section(section.call_open, call_close, section.open, section.separator, section.close)


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


def _tagged_values(tagged: Tagged, numeric_key_close: str, *, has_cdata: bool) -> Tagged:
    """`tagged` with what its `key_close` says about the types of values taken apart."""
    key_close, value_close = tagged.key_close, tagged.value_close
    kind = kind_close = ""
    values_are_json = False
    if has_cdata:
        key_close = key_close.removesuffix(_CDATA[0])
        value_close = value_close.removeprefix(_CDATA[1])
        numeric_key_close = numeric_key_close.removesuffix(_CDATA[0])
    if key_close.endswith('"') and key_close[:-1] == numeric_key_close:
        values_are_json = True
        key_close, value_close = key_close[:-1], value_close.removeprefix('"')
    elif key_close != numeric_key_close:
        whole = key_close
        kind_close = common_suffix(whole, numeric_key_close)
        key_close = common_prefix(whole, numeric_key_close)
        kind = whole[len(key_close) : len(whole) - len(kind_close)]
    return Tagged(
        section=tagged.section,
        name_close=tagged.name_close,
        key_open=tagged.key_open,
        key_close=key_close,
        value_close=value_close,
        kind_close=kind_close,
        string_kind=kind,
        values_are_json=values_are_json,
        has_cdata=has_cdata,
    )


def _section(
    spans: _Spans, leads: tuple[str, ...], ends: tuple[str, ...]
) -> tuple[Section, tuple[str, ...]]:
    """What stands around the calls, and the texts behind them that end the turn."""
    before, behind = spans.before, spans.behind
    for lead in leads:
        start = len(before) - len(before.lstrip())
        if lead and before.startswith(lead, 0 if lead[0].isspace() else start):
            before = before[before.index(lead) + len(lead) :]
    cuts = [behind.find(end) for end in ends if end and end in behind]
    behind = behind[: min(cuts, default=len(behind))]
    between = spans.between
    if between is None:
        return Section(before, behind.rstrip()), ()
    between = _without_words(between)
    behind = _without_words(behind)
    call_open = common_suffix(before, between)
    between = between[: len(between) - len(call_open)]
    call_close = common_prefix(between, behind)
    open = before[: len(before) - len(call_open)]
    section = Section(
        call_open=call_open,
        call_close=call_close,
        open=open if open.strip() else "",
        separator=between[len(call_close) :],
        close=behind[len(call_close) :].rstrip() if open.strip() else "",
    )
    end = "" if open.strip() else behind[len(call_close) :].strip()
    return section, chunks(end)[:1]


def _without_words(literal: str) -> str:
    for key in KEYS:
        literal = literal.replace(key, "{key}")
    return literal


def _object_spans(text: str) -> _Spans | None:
    """Calls that are JSON objects: the outermost that hold one name each."""
    names = [name for name in NAMES if name in text]
    spans: list[tuple[int, int]] = []
    for name in names:
        found = _json_around(text, name, start=0, others=[n for n in names if n != name])
        if found is None or VALUES[NAMES.index(name)] not in text[found[0] : found[1]]:
            return None
        spans.append((found[0], found[1]))
    return _Spans(text, tuple(spans)) if spans else None


def _pythonic_spans(text: str) -> _Spans | None:
    """Calls as Python writes them."""
    found = (
        re.search(rf"""{name}\({key}=(["']){value}\1\)""", text)
        for name, key, value in zip(NAMES, KEYS, VALUES, strict=True)
    )
    spans = tuple(each.span() for each in found if each)
    return _Spans(text, spans) if spans else None


def _pythonic(section: Section) -> PythonicCalls | None:
    """Only lists of calls: elsewhere nothing says where one ends."""
    open = (section.open or section.call_open).strip()
    close = (section.close or section.call_close).strip()
    if not open.endswith("[") or not close.startswith("]") or open == "[":
        return None
    return PythonicCalls((open[:-1].strip(), close[1:].strip()))


def _tagged_spans(text: str) -> _Spans | None:
    """Calls from their name to the end of their last value."""
    spans: list[tuple[int, int]] = []
    for name, value in zip(NAMES, VALUES, strict=True):
        start = text.find(name)
        end = text.find(value, max(0, start))
        if start >= 0 and end >= 0:
            spans.append((start, end + len(value)))
    return _Spans(text, tuple(spans)) if spans else None


def _json_around(
    text: str, word: str, *, start: int, others: list[str] | None = None
) -> tuple[int, int, Any] | None:
    """The outermost JSON object behind `start` that holds `word` and none of `others`."""
    at = text.find(word, max(0, start))
    position = text.find("{", max(0, start))
    while 0 <= position < at:
        try:
            value, end = json.JSONDecoder().raw_decode(text, position)
        except ValueError:
            end = -1
        if end > at and not any(other in text[position:end] for other in others or ()):
            return position, end, value
        position = text.find("{", position + 1)
    return None


def _json_objects(section: Section, text: str) -> JsonObjects | None:
    value = json.loads(text)
    name = _path_to(value, lambda v: v == NAMES[0])
    arguments = _path_to(value, lambda v: v == {KEYS[0]: VALUES[0]})
    slot = Slot.ARGUMENTS
    if arguments is None:
        arguments = _path_to(value, lambda v: isinstance(v, str) and VALUES[0] in v)
        slot = Slot.ARGUMENTS_TEXT
    if arguments is None:
        return None
    if name is None:
        if arguments != (NAMES[0],):
            return None
        layout = _layout(text, {NAMES[0]: Slot.NAME}, slot)
        return JsonObjects(section, (), (), None, layout)
    id = _id_path(value, arguments)
    words = {NAMES[0]: Slot.NAME}
    if id is not None:
        words[_at(value, id)] = Slot.ID
    return JsonObjects(section, name, arguments, id, _layout(text, words, slot))


def _id_path(value: dict[str, Any], arguments: Path) -> Path | None:
    id = _path_to(value, lambda v: v == IDS[0])
    if id is not None:
        return id
    keys = [key for key, v in value.items() if "id" in key.split("_") and isinstance(v, str)]
    return (keys[0],) if keys and (keys[0],) != arguments else None


def _at(value: Any, path: Path) -> str:
    for key in path:
        value = value[key]
    return str(value)


def _path_to(value: Any, is_wanted: Any, path: Path = ()) -> Path | None:
    if is_wanted(value):
        return path
    if isinstance(value, dict):
        for key, item in value.items():
            found = _path_to(item, is_wanted, (*path, key))
            if found is not None:
                return found
    return None


def _layout(text: str, words: dict[str, Slot], arguments: Slot) -> tuple[str | Slot, ...]:
    """`text` with slots in the place of `words` and of the arguments."""
    places: list[tuple[int, int, Slot]] = []
    for word, slot in words.items():
        at = text.find(f'"{word}"') + 1
        places.append((at, at + len(word), slot))
    found = _json_around(text, VALUES[0], start=0, others=[f'"{word}"' for word in words])
    if arguments is Slot.ARGUMENTS and found is not None:
        places.append((found[0], found[1], arguments))
    elif arguments is Slot.ARGUMENTS_TEXT:
        start = text.rfind('"{', 0, text.find(VALUES[0]))
        _, end = json.JSONDecoder().raw_decode(text, start)
        places.append((start, end, arguments))
    layout: list[str | Slot] = []
    position = 0
    for start, end, slot in sorted(places, key=lambda place: place[0]):
        layout += [text[position:start], slot]
        position = end
    return (*layout, text[position:])


def _named_json(section: Section, text: str) -> NamedJson:
    found = _json_around(text, VALUES[0], start=text.index(NAMES[0]))
    assert found is not None
    head = text[: found[0]]
    places = sorted(
        (head.index(word), word, slot)
        for word, slot in ((NAMES[0], Slot.NAME), (IDS[0], Slot.ID))
        if word in head
    )
    words = []
    for number, (start, word, slot) in enumerate(places):
        end = places[number + 1][0] if number + 1 < len(places) else len(head)
        words.append((slot, head[start + len(word) : end]))
    return NamedJson(section, tuple(words))
