"""Argument values that a model wrote as text, turned into JSON text."""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

from llmd.chat.answer.json_stream import JsonStream
from llmd.chat.answer.schema_parts import schema_types, type_of

_FIRST_CHARACTERS = {"{": "object", "[": "array", "t": "boolean", "f": "boolean", "n": "null"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def json_value(text: str, schema: dict[str, Any]) -> str:
    """The JSON text of the value that `text` writes, where a value of `schema` is wanted: JSON
    as it is, else a Python literal, else a string. A declared string stays the text that it is,
    even where that looks like a number. Never raises.
    """
    types = schema_types(schema)
    if types == {"string"}:
        return json_string(text)
    plain = text.strip()
    found = _json_type(plain)
    if found is not None and (not types or found in types or "string" not in types):
        return plain
    literal = _python_value(plain)
    if literal is not None and (not types or literal[0] in types or "string" not in types):
        return literal[1]
    return json_string(text)


def json_string(text: str) -> str:
    """`text` as a JSON string that can be sent as UTF-8."""
    if _SURROGATE.search(text):
        return encode_basestring_ascii(text)
    return encode_basestring(text)


def escaped(text: str) -> str:
    """`text` as a part of a JSON string, without quotes."""
    return json_string(text)[1:-1]


def unquoted_arguments(text: str) -> str:
    """The arguments that the JSON in `text` says, where it is no object: one that is quoted as a
    string, or none. Whatever else it is stays as it is.
    """
    if text == "null":
        return "{}"
    if not text.startswith('"'):
        return text
    value = json.loads(text).strip()
    return (value if _json_type(value) == "object" else text) if value else "{}"


def _json_type(text: str) -> str | None:
    """The JSON type of the value that `text` writes, None where it is not JSON."""
    if not text or text[0] not in '{["-0123456789tfn':
        return None
    try:
        return type_of(json.loads(text, parse_constant=_refuse, parse_int=len, parse_float=len))
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _python_value(text: str) -> tuple[str, str] | None:
    """The JSON type and text of a Python literal that is a constant or a collection."""
    if not text or text[0] not in "TFN{[(":
        return None
    stream = JsonStream(takes_words=False)
    passed, rest = stream.feed(text)
    if text in ("True", "False", "None"):
        passed, rest = stream.closing(), ""
    if rest != "" or stream.is_broken:
        return None
    return _FIRST_CHARACTERS[passed[0]], passed
