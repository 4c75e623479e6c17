"""What can be enforced where a model does not write the arguments of its calls as JSON.

There texts stand without quotes, or with quotes of their own, and a grammar has to be made of the
schema piece by piece; or all of the arguments stand in one JSON string, whose text is not held to
anything. What is not covered is named here, so that it can be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llmd.chat.answer.schema_parts import type_of
from llmd.chat.answer.syntax import AnswerSyntax, MessageSyntax
from llmd.chat.calls.attribute_tags import AttributeTags
from llmd.chat.calls.gemma4 import Gemma4Calls
from llmd.chat.calls.json_objects import JsonObjects, Slot
from llmd.chat.calls.minimax_m3 import MiniMaxM3Calls
from llmd.chat.calls.pythonic import PythonicCalls
from llmd.chat.calls.tagged import Tagged
from llmd.chat.schema.fault import below

Schema = dict[str, Any]

# Each argument stands bare between tags, and what is inside of it is JSON.
_BARE = (Tagged, AttributeTags)
# All the way down in a notation of its own: bare texts, or texts in quotes.
_BARE_INSIDE = (MiniMaxM3Calls,)
_QUOTED_INSIDE = (PythonicCalls, Gemma4Calls)

_BARE_KEY = re.compile(r"""[^<>"\s](?:[^<>"\n]*[^<>"\s])?""")
_PLAIN_KEY = re.compile(r"[\w.\-/]+")

_TEXT_LIMITS = ("pattern", "minLength", "maxLength", "allOf")


def unheld_part(syntax: AnswerSyntax, parameters: Schema) -> str | None:
    """The pointer to a part of normalized `parameters` that calls in the notation of `syntax`
    cannot be held to; None where they are held to all of it.
    """
    if _is_quoted_whole(syntax):
        return "#"
    if not _is_apart(syntax):
        return None
    definitions = {key: parameters[key] for key in ("$defs",) if key in parameters}
    for option in parameters.get("anyOf", [parameters]):
        option = _resolved(option, definitions)
        if _goes_beyond_lists(option):
            return "#"
        for key, schema in option.get("properties", {}).items():
            if not _is_writable(syntax, key) or _is_unheld(syntax, schema, definitions):
                return below("#", "properties", key)
    return None


def _is_quoted_whole(syntax: AnswerSyntax) -> bool:
    calls = syntax.calls if isinstance(syntax, MessageSyntax) else None
    return isinstance(calls, JsonObjects) and Slot.ARGUMENTS_TEXT in calls.layout


def _is_apart(syntax: AnswerSyntax) -> bool:
    calls = syntax.calls if isinstance(syntax, MessageSyntax) else None
    return isinstance(calls, (*_BARE, *_BARE_INSIDE, *_QUOTED_INSIDE))


def _is_writable(syntax: AnswerSyntax, key: str) -> bool:
    """Whether what follows the key cannot be taken for a part of it, nor the other way round."""
    calls = syntax.calls if isinstance(syntax, MessageSyntax) else None
    writable = _PLAIN_KEY if isinstance(calls, PythonicCalls) else _BARE_KEY
    return writable.fullmatch(key) is not None


def _is_unheld(syntax: AnswerSyntax, schema: Schema, definitions: Schema) -> bool:
    calls = syntax.calls if isinstance(syntax, MessageSyntax) else None
    inside = not isinstance(calls, _BARE)
    is_bare = not isinstance(calls, _QUOTED_INSIDE)
    for part in _parts(schema, definitions, inside=inside):
        limits = _TEXT_LIMITS if "enum" in part else ()
        if isinstance(calls, PythonicCalls):
            limits = (*limits, "allOf")
        if any(limit in part for limit in limits):
            return True
        if is_bare and _mixes_texts(part, definitions):
            return True
        if inside and ("prefixItems" in part or _goes_beyond_lists(part)):
            return True
    return False


def _parts(schema: Schema, definitions: Schema, *, inside: bool) -> Iterator[Schema]:
    """A schema and its alternatives; with `inside` those of its items and properties too."""
    waiting: list[Any] = [schema]
    seen: list[Schema] = []
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict):
            continue
        part = _resolved(part, definitions)
        if any(part is other for other in seen):
            continue
        seen.append(part)
        yield part
        waiting += part.get("anyOf", ())
        if inside:
            waiting += (part.get("items"), part.get("additionalProperties"))
            waiting += part.get("properties", {}).values()


def _mixes_texts(part: Schema, definitions: Schema) -> bool:
    """Whether a bare text may be a string, or a number or more that reads like one."""
    options = [_resolved(option, definitions) for option in part.get("anyOf", ())]
    if not any(option.get("type") == "string" and "enum" not in option for option in options):
        return False
    return any(_kinds(option) - {"string", "null", "boolean"} for option in options)


def _kinds(option: Schema) -> set[str]:
    if "type" in option:
        return {option["type"]}
    return {type_of(value) for value in option.get("enum", ())} or {"any"}


def _goes_beyond_lists(part: Schema) -> bool:
    """Whether an object has more than a list of properties, or any at all."""
    if "patternProperties" in part or "minProperties" in part or "maxProperties" in part:
        return True
    return part.get("additionalProperties", False) not in (False, {}) or (
        part.get("additionalProperties") == {} and bool(part.get("properties"))
    )


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    reference = schema.get("$ref")
    while isinstance(reference, str):
        schema = definitions["$defs"][reference.rpartition("/")[2]]
        reference = schema.get("$ref")
    return schema
