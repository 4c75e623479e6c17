"""Grammar of argument values that are written as bare text between tags."""

from __future__ import annotations

import json
import re
from typing import Any

from llmd.chat.answer.schema_parts import resolved, schema_options, schema_types
from llmd.chat.calls.base import ANY_TEXT, GrammarRules


def raw_value(rules: GrammarRules, schema: dict[str, Any], closer: str) -> str:
    """An expression that matches the text of a value of `schema` and the `closer` behind it:
    a string as it is, anything else as JSON.
    """
    schema = resolved(schema)
    texts = _allowed_texts(schema)
    if texts is not None:
        return rules.choice(rules.literal(text + closer) for text in texts)
    types = schema_types(schema)
    if types and "string" not in types:
        return f"{rules.json(schema)} {rules.literal(closer)}"
    # A string next to JSON would be one lexeme with it, so all of it is one expression. The closer
    # without its blanks ends a value too, for the reader.
    closing = re.escape(closer.strip()).replace("/", "\\/")
    return rules.until(closer, f"({_union_body(schema)}) & ~/(?s:.*){closing}(?s:.*)/")


def string_body(schema: dict[str, Any]) -> str:
    """Regular expressions that match exactly the strings of `schema`."""
    bodies = [f"/{_unanchored(pattern)}/" for pattern in _patterns(schema)]
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    if least or most != "":
        bodies.append(f"/(?s:.{{{least},{most}}})/")
    return " & ".join(bodies) or ANY_TEXT


def _union_body(schema: dict[str, Any]) -> str:
    """Regular expressions for the values of `schema`, strings and others; of those others that
    are no regular language, none.
    """
    if schema_types(schema) in ({"string"}, set()) and not _is_wrapper(schema):
        return string_body(schema)
    bodies = []
    for option in schema_options(schema):
        texts = None if _is_wrapper(option) else _allowed_texts(option)
        if texts is not None:
            bodies += [f"/{_unanchored(f'^{re.escape(text)}$')}/" for text in texts]
        elif option.get("type") == "string":
            bodies.append(string_body(option))
        elif option.get("type") == "integer" and option.keys() <= {"type"}:
            bodies.append("/-?(?:0|[1-9][0-9]*)/")
        elif option.get("type") == "number" and option.keys() <= {"type"}:
            bodies.append("/-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?/")
    return " | ".join(bodies) if bodies and ANY_TEXT not in bodies else ANY_TEXT


def _patterns(schema: dict[str, Any]) -> list[str]:
    parts = [schema, *schema.get("allOf", ())]
    return [part["pattern"] for part in parts if isinstance(part.get("pattern"), str)]


def _unanchored(pattern: str) -> str:
    """`pattern`, which is found anywhere in a text, as one that matches all of it."""
    head = "" if pattern.startswith("^") else "(?s:.*)"
    is_ended = pattern.endswith("$") and not pattern.endswith("\\$")
    core = pattern.removeprefix("^")
    core = core.removesuffix("$") if is_ended else core
    return f"{head}(?:{core}){'' if is_ended else '(?s:.*)'}".replace("/", "\\/")


def _allowed_texts(schema: dict[str, Any]) -> list[str] | None:
    """The texts of the values of an enumeration, None where `schema` is none."""
    options = [option for option in schema_options(schema) if not _is_wrapper(option)]
    texts: list[str] = []
    for option in options:
        if "const" in option:
            values = [option["const"]]
        elif isinstance(option.get("enum"), list):
            values = option["enum"]
        elif option.get("type") == "null":
            values = [None]
        elif option.get("type") == "boolean":
            values = [True, False]
        else:
            return None
        texts += [value if isinstance(value, str) else json.dumps(value) for value in values]
    return texts or None


def _is_wrapper(option: dict[str, Any]) -> bool:
    return not option or any(keyword in option for keyword in ("anyOf", "oneOf", "$ref"))
