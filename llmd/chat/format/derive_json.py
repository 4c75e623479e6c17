"""Calls whose arguments are JSON, read off renders of sentinels: with the name in the same object
or in a marker in front of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from llmd.chat.calls.json_objects import JsonObjects, Path, Slot
from llmd.chat.calls.named_json import NamedJson
from llmd.chat.calls.section import Section
from llmd.chat.format.call_spans import CallSpans
from llmd.chat.format.sentinels import IDS, KEYS, NAMES, VALUES


def object_spans(text: str) -> CallSpans | None:
    """Calls that are JSON objects: the outermost that hold one name each."""
    names = [name for name in NAMES if name in text]
    spans: list[tuple[int, int]] = []
    for name in names:
        found = _json_around(text, name, start=0, others=[n for n in names if n != name])
        if found is None or VALUES[NAMES.index(name)] not in text[found[0] : found[1]]:
            return None
        spans.append((found[0], found[1]))
    return CallSpans(text, tuple(spans)) if spans else None


def named_spans(text: str) -> CallSpans | None:
    """Calls from their name, or the id in front of it, to the end of their arguments, or the id
    behind these.
    """
    spans: list[tuple[int, int]] = []
    position = 0
    for name, id, key, value in zip(NAMES, IDS, KEYS, VALUES, strict=True):
        start = text.find(name, position)
        found = _json_around(text, value, start=start)
        if start < 0:
            break
        if found is None or found[2] != {key: value}:
            return None
        before = text.find(id, position, start)
        begin = before if before >= 0 else start
        next_name = min((at for n in NAMES if (at := text.find(n, found[1])) >= 0), default=None)
        behind = text.find(id, found[1], next_name)
        position = behind + len(id) if behind >= 0 else found[1]
        spans.append((begin, position))
    return CallSpans(text, tuple(spans)) if spans else None


def json_objects(section: Section, text: str) -> JsonObjects | None:
    """The syntax of calls in `section` of which `text` is one; None where it lacks a part."""
    value = json.loads(text)
    name = _path_to(value, lambda v: v == NAMES[0])
    arguments = _path_to(value, lambda v: v == {KEYS[0]: VALUES[0]})
    words = {NAMES[0]: Slot.NAME}
    if arguments is not None and name is None:
        layout = _layout(text, words)
        return JsonObjects(section, (), (), None, layout) if len(arguments) == 1 else None
    if arguments is None:
        arguments = _path_to(value, lambda v: isinstance(v, str) and VALUES[0] in v)
        if arguments is None:
            return None
        words[_at(value, arguments)] = Slot.ARGUMENTS_TEXT
    if name is None:
        return None
    id = _id_path(value, arguments)
    if id is not None:
        words[_at(value, id)] = Slot.ID
    return JsonObjects(section, name, arguments, id, _layout(text, words))


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


def _path_to(value: Any, is_wanted: Callable[[Any], bool], path: Path = ()) -> Path | None:
    if is_wanted(value):
        return path
    if isinstance(value, dict):
        for key, item in value.items():
            found = _path_to(item, is_wanted, (*path, key))
            if found is not None:
                return found
    return None


def _layout(text: str, words: dict[str, Slot]) -> tuple[str | Slot, ...]:
    """`text` with slots in the place of `words`, which are strings in it, and of the arguments."""
    places: list[tuple[int, int, Slot]] = []
    for word, slot in words.items():
        for spelling in (json.dumps(word, ensure_ascii=False), json.dumps(word)):
            at = text.find(spelling)
            if at >= 0:
                # The arguments' text takes its quotes along.
                inner = slot is not Slot.ARGUMENTS_TEXT
                places.append((at + inner, at + len(spelling) - inner, slot))
                break
    found = _json_around(text, VALUES[0], start=0, others=[f'"{word}"' for word in words])
    if found is not None and Slot.ARGUMENTS_TEXT not in words.values():
        places.append((found[0], found[1], Slot.ARGUMENTS))
    layout: list[str | Slot] = []
    position = 0
    for start, end, slot in sorted(places, key=lambda place: place[0]):
        layout += [text[position:start], slot]
        position = end
    return (*layout, text[position:])


def named_json(section: Section, text: str) -> NamedJson:
    """The syntax of calls in `section` of which `text` is one."""
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
    before_id, has_id, _ = text[found[1] :].partition(IDS[0])
    return NamedJson(section, tuple(words), before_id if has_id else "")


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
