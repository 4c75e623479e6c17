"""The keywords of JSON Schema, and what each may hold."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

from llmd.chat.schema.fault import FaultList, below

TYPES = ("null", "boolean", "number", "string", "array", "object")

# What a keyword must hold: the wording for the message, and the check.
_Kind = tuple[str, Callable[[Any], bool]]


def _is_count(value: object) -> bool:
    if isinstance(value, float):
        return value >= 0 and value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_schema(value: object) -> bool:
    return isinstance(value, dict | bool)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _are_types(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and all(item in (*TYPES, "integer") for item in types)


_COUNT: _Kind = ("a count, 0 or more", _is_count)
_NUMBER: _Kind = ("a number", _is_number)
_LIMIT: _Kind = ("a number", lambda v: isinstance(v, bool) or _is_number(v))
_POSITIVE: _Kind = ("a number above 0", lambda value: _is_number(value) and value > 0)
_TEXT: _Kind = ("a string", lambda value: isinstance(value, str))
_FLAG: _Kind = ("true or false", lambda value: isinstance(value, bool))
_SCHEMA: _Kind = ("a schema", _is_schema)
_SCHEMAS: _Kind = (
    "a list of schemas that is not empty",
    lambda value: isinstance(value, list) and bool(value) and all(map(_is_schema, value)),
)
_ITEMS: _Kind = (
    "a schema or a list of schemas",
    lambda value: _is_schema(value) or (isinstance(value, list) and all(map(_is_schema, value))),
)
_SCHEMA_MAP: _Kind = (
    "an object of schemas",
    lambda value: isinstance(value, dict) and all(map(_is_schema, value.values())),
)
_TEXTS: _Kind = ("a list of strings", _are_texts)
_TEXTS_MAP: _Kind = (
    "an object of lists of strings",
    lambda value: isinstance(value, dict) and all(map(_are_texts, value.values())),
)
_DEPENDENCIES: _Kind = (
    "an object of schemas or lists of strings",
    lambda value: (
        isinstance(value, dict) and all(_is_schema(v) or _are_texts(v) for v in value.values())
    ),
)
_VALUES: _Kind = (
    "a list of values that is not empty",
    lambda value: isinstance(value, list) and bool(value),
)
_ANY: _Kind = ("a value", lambda value: True)
_TYPES: _Kind = ("a type, or a list of types", _are_types)

KEYWORDS: Mapping[str, _Kind] = {
    "$ref": _TEXT,
    "type": _TYPES,
    "nullable": _FLAG,
    "enum": _VALUES,
    "const": _ANY,
    "allOf": _SCHEMAS,
    "anyOf": _SCHEMAS,
    "oneOf": _SCHEMAS,
    "not": _SCHEMA,
    "if": _SCHEMA,
    "then": _SCHEMA,
    "else": _SCHEMA,
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _LIMIT,
    "exclusiveMaximum": _LIMIT,
    "multipleOf": _POSITIVE,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "pattern": _TEXT,
    "format": _TEXT,
    "items": _ITEMS,
    "prefixItems": _SCHEMAS,
    "additionalItems": _SCHEMA,
    "unevaluatedItems": _SCHEMA,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "uniqueItems": _FLAG,
    "contains": _SCHEMA,
    "minContains": _COUNT,
    "maxContains": _COUNT,
    "properties": _SCHEMA_MAP,
    "patternProperties": _SCHEMA_MAP,
    "additionalProperties": _SCHEMA,
    "unevaluatedProperties": _SCHEMA,
    "propertyNames": _SCHEMA,
    "required": _TEXTS,
    "minProperties": _COUNT,
    "maxProperties": _COUNT,
    "dependentRequired": _TEXTS_MAP,
    "dependentSchemas": _SCHEMA_MAP,
    "dependencies": _DEPENDENCIES,
    "$dynamicRef": _TEXT,
    "$recursiveRef": _TEXT,
}

# They say nothing about which documents are valid, or are read where references are resolved.
ANNOTATIONS = frozenset(
    "$schema $id id $anchor $dynamicAnchor $recursiveAnchor $vocabulary $comment $defs definitions "
    "title description default example examples deprecated readOnly writeOnly contentEncoding "
    "contentMediaType contentSchema discriminator xml externalDocs markdownDescription "
    "enumDescriptions enumNames propertyOrdering errorMessage strict".split()
)

# Only these make a schema say something about one type of document.
KEYWORDS_OF = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern"),
    "array": (
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "unevaluatedItems",
        "uniqueItems",
        "contains",
    ),
    "object": (
        "properties",
        "patternProperties",
        "additionalProperties",
        "unevaluatedProperties",
        "propertyNames",
        "required",
        "minProperties",
        "maxProperties",
    ),
}

_DIALECTS = ("draft-04", "draft-06", "draft-07", "2019-09", "2020-12")


def known_keywords(schema: Mapping[str, Any], pointer: str, faults: FaultList) -> dict[str, Any]:
    """The keywords of one schema that say something and hold what they must. All others are
    faults, but for annotations and extensions (`x-...`).
    """
    found = {}
    for keyword, value in schema.items():
        where = below(pointer, keyword)
        kind = KEYWORDS.get(keyword)
        if kind is not None:
            wording, is_right = kind
            if is_right(value):
                found[keyword] = value
            else:
                faults.invalid(where, f"must be {wording}")
        elif keyword == "$schema":
            if not any(dialect in str(value) for dialect in _DIALECTS):
                faults.unsupported(where, "names a dialect that llmd does not know")
        elif keyword == "$id" and pointer != "#":
            faults.unsupported(where, "gives a part of the schema an address of its own")
        elif keyword == "x-guidance":
            faults.unsupported(where, "is not for clients")
        elif keyword not in ANNOTATIONS and not keyword.startswith("x-"):
            near = difflib.get_close_matches(keyword, (*KEYWORDS, *ANNOTATIONS), n=1)
            hint = f"; was '{near[0]}' meant?" if near else ""
            faults.unsupported(where, f"is no keyword that llmd knows{hint}")
    return found
