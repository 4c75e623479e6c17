"""JSON schemas that clients send, with documents that fit them and documents that do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SchemaCase:
    """`fitting` are documents that the model must be able to write, `violating` such as it must
    not. What `is_refused` may not be served at all, and not as a tool's arguments to models that
    write these in one of the notations `refused_in`. `meaning` is the same schema for a validator,
    where it has another dialect than that.
    """

    name: str
    schema: dict[str, Any]
    fitting: tuple[Any, ...] = ()
    violating: tuple[Any, ...] = ()
    is_refused: bool = False
    refused_in: tuple[str, ...] = ()
    meaning: dict[str, Any] | None = None


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_CAT = _object(kind={"const": "cat"}, lives={"type": "integer", "maximum": 9})
_DOG = _object(kind={"const": "dog"}, tricks={"type": "array", "items": {"type": "string"}})
_TREE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "children": {"type": "array", "items": {"$ref": "#"}},
    },
    "required": ["value"],
    "additionalProperties": False,
}
_LIST = {
    "$defs": {
        "link": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/link"}, {"type": "null"}]}},
            "required": ["next"],
        }
    },
    "$ref": "#/$defs/link",
}
_ORDER = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["card", "cash"]},
        "number": {"type": "string"},
        "change": {"type": "integer"},
    },
    "required": ["kind"],
    "if": {"properties": {"kind": {"const": "card"}}},
    "then": {"required": ["number"]},
    "else": {"required": ["change"]},
}


def _value(schema: dict[str, Any]) -> dict[str, Any]:
    return _object(v=schema)


def _enforced(
    name: str,
    schema: dict[str, Any],
    fitting: list[Any],
    violating: list[Any],
    *refused_in: str,
) -> SchemaCase:
    """A case of the one value in an object."""
    return SchemaCase(
        name,
        _value(schema),
        tuple({"v": value} for value in fitting),
        tuple({"v": value} for value in violating),
        refused_in=refused_in,
    )


def _refused(name: str, schema: dict[str, Any]) -> SchemaCase:
    return SchemaCase(name, _value(schema), is_refused=True)


_VALUES = [
    _enforced("string", {"type": "string"}, ["", 'a "b"\n'], [1, None, ["a"]]),
    _enforced("boolean", {"type": "boolean"}, [True, False], [0, None]),
    _enforced("null", {"type": "null"}, [None], [False, 0]),
    _enforced("integer", {"type": "integer"}, [0, -12, 10**12], [1.5, None, [1]]),
    _enforced("number", {"type": "number"}, [0, -1.5, 2e10], [None, [1]]),
    _enforced("type list", {"type": ["integer", "null"]}, [1, None], [[], True]),
    _enforced(
        "minimum, maximum", {"type": "integer", "minimum": -3, "maximum": 12}, [-3, 12], [-4, 13]
    ),
    _enforced(
        "exclusive bounds",
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        [0.5, 0.001],
        [0, 1, -0.5, 1.5],
    ),
    _enforced(
        "number bounds", {"type": "number", "minimum": 0.5, "maximum": 2}, [0.5, 2], [0.4, 3]
    ),
    _enforced("multipleOf 5", {"type": "integer", "multipleOf": 5}, [0, -15, 100], [3, 12]),
    _enforced("multipleOf 0.25", {"type": "number", "multipleOf": 0.25}, [1.25, -3], [1.3]),
    _enforced(
        "minLength, maxLength",
        {"type": "string", "minLength": 2, "maxLength": 3},
        ["ab", "é😀"],
        ["a", "abcd"],
    ),
    _enforced("enum", {"enum": ["red", "green"]}, ["red", "green"], ["blue", "re", None]),
    _enforced("enum of all kinds", {"enum": ["a", 1, None, True]}, ["a", 1, None], ["b", 2, False]),
    _enforced("const", {"const": "yes"}, ["yes"], ["no", None]),
    _enforced(
        "const object",
        {"const": {"a": [1, "x"]}},
        [{"a": [1, "x"]}],
        [{"a": [1]}, {"a": [2, "x"]}],
        "python",
    ),
    _enforced(
        "pattern", {"type": "string", "pattern": "^[A-Z]{2}-\\d+$"}, ["AB-12"], ["AB-", "ab-1", "x"]
    ),
    _enforced(
        "pattern without anchors", {"type": "string", "pattern": "\\d"}, ["a1b", "7"], ["ab", ""]
    ),
    _enforced(
        "pattern with half anchors", {"type": "string", "pattern": "^a|b$"}, ["ax", "xb"], ["xa"]
    ),
    _enforced(
        "pattern without quotes", {"type": "string", "pattern": '^[^"]*$'}, ["a", ""], ['a"']
    ),
    _enforced(
        "pattern and length",
        {"type": "string", "pattern": "^a+b*$", "maxLength": 3},
        ["a", "aab"],
        ["aabb", "b"],
    ),
    _enforced(
        "format date",
        {"type": "string", "format": "date"},
        ["2024-02-29"],
        ["2023-02-29", "2024-13-01", "today"],
    ),
    _enforced(
        "format date-time",
        {"type": "string", "format": "date-time"},
        ["2024-01-31T23:59:59Z"],
        ["2024-01-31", "2024-01-31T24:00:00Z"],
    ),
    _enforced(
        "format uuid",
        {"type": "string", "format": "uuid"},
        ["01234567-89ab-cdef-0123-456789abcdef"],
        ["01234567"],
    ),
    _enforced("format email", {"type": "string", "format": "email"}, ["a.b@c.org"], ["a", "@c"]),
    _enforced("format ipv4", {"type": "string", "format": "ipv4"}, ["10.0.0.255"], ["10.0.0.256"]),
    _enforced(
        "format ipv6", {"type": "string", "format": "ipv6"}, ["::1", "fe80::2:3"], ["1::2::3"]
    ),
    _enforced(
        "format uri", {"type": "string", "format": "uri"}, ["https://a.org/b?c=d"], ["a b", "//x"]
    ),
    _enforced("format int32", {"type": "integer", "format": "int32"}, [2**31 - 1], [2**31]),
    _enforced("array", {"type": "array", "items": {"type": "integer"}}, [[], [1, 2]], [["a"], 1]),
    _enforced(
        "minItems, maxItems",
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        [[True], [True, False]],
        [[], [True, True, True]],
    ),
    _enforced(
        "prefixItems",
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
        [[1, "a"], [1]],
        [["a"], [1, "a", 2]],
        "python",
    ),
    _enforced("anyOf", {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, [1, True], [None]),
    _enforced(
        "anyOf with siblings",
        {"type": "string", "minLength": 2, "anyOf": [{"pattern": "^a"}, {"pattern": "z$"}]},
        ["ab", "yz"],
        ["a", "bb"],
    ),
    _enforced("oneOf by type", {"oneOf": [{"type": "integer"}, {"type": "null"}]}, [1, None], [[]]),
    _enforced("not a type", {"type": ["integer", "null"], "not": {"type": "null"}}, [1], [None]),
    _enforced("not a value", {"type": "string", "not": {"enum": ["", "no"]}}, ["n"], ["", "no"]),
    _enforced("true, no type", {}, ["a", 1, [{}], {"b": None}], []),
    _enforced("annotations", {"type": "integer", "title": "t", "x-unit": "m"}, [1], [None]),
    SchemaCase(
        "nullable",
        _value({"type": "integer", "nullable": True}),
        ({"v": 1}, {"v": None}),
        ({"v": []},),
        meaning=_value({"type": ["integer", "null"]}),
    ),
    SchemaCase(
        "draft 4 exclusiveMinimum",
        _value({"type": "integer", "minimum": 0, "exclusiveMinimum": True}),
        ({"v": 1},),
        ({"v": 0},),
        meaning=_value({"type": "integer", "exclusiveMinimum": 0}),
    ),
]

_OBJECTS = [
    SchemaCase(
        "required and optional",
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
            "required": ["a"],
        },
        ({"a": 1}, {"a": 1, "b": "x"}),
        ({"b": "x"}, {"a": "x"}, {}),
    ),
    SchemaCase(
        "nested",
        _object(a=_object(b=_object(c={"type": "array", "items": _object(d={"const": 1})}))),
        ({"a": {"b": {"c": [{"d": 1}]}}},),
        ({"a": {"b": {"c": [{"d": 2}]}}}, {"a": {"b": {}}}),
    ),
    SchemaCase(
        "additionalProperties false",
        {**_object(a={"type": "integer"}), "additionalProperties": False},
        ({"a": 1},),
        ({"a": 1, "b": 2},),
    ),
    SchemaCase(
        "map of integers",
        _value({"type": "object", "additionalProperties": {"type": "integer"}}),
        ({"v": {"x": 1, "y": 2}}, {"v": {}}),
        ({"v": {"x": "a"}},),
        refused_in=("python",),
    ),
    SchemaCase(
        "properties and a map",
        _value({**_object(a={"type": "integer"}), "additionalProperties": {"type": "boolean"}}),
        ({"v": {"a": 1, "b": True}},),
        ({"v": {"a": True}}, {"v": {"a": 1, "b": 1}}),
        refused_in=("python",),
    ),
    SchemaCase(
        "patternProperties",
        _value(
            {
                "type": "object",
                "patternProperties": {"^n_": {"type": "integer"}, "^s_": {"type": "string"}},
                "additionalProperties": False,
            }
        ),
        ({"v": {"n_a": 1, "s_b": "x"}},),
        ({"v": {"n_a": "x"}}, {"v": {"other": 1}}),
        refused_in=("python",),
    ),
    SchemaCase(
        "propertyNames",
        _value({"type": "object", "propertyNames": {"enum": ["a", "b"]}}),
        ({"v": {"a": 1}},),
        ({"v": {"c": 1}},),
    ),
    SchemaCase(
        "minProperties 1",
        _value({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1}),
        ({"v": {"a": 1}}, {"v": {"b": 1}}),
        ({"v": {}},),
        refused_in=("python",),
    ),
    SchemaCase(
        "$ref recursive",
        _TREE,
        ({"value": 1, "children": [{"value": 2}]},),
        (
            {"value": 1, "children": [{}]},
            {"children": []},
        ),
    ),
    SchemaCase("$ref to $defs", _LIST, ({"next": {"next": None}},), ({"next": 1}, {})),
    SchemaCase(
        "oneOf by discriminator",
        _value({"oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}]})
        | {"$defs": {"cat": _CAT, "dog": _DOG}},
        ({"v": {"kind": "cat", "lives": 9}}, {"v": {"kind": "dog", "tricks": ["sit"]}}),
        ({"v": {"kind": "cat", "tricks": []}}, {"v": {"kind": "cat", "lives": 10}}),
    ),
    SchemaCase(
        "oneOf by required",
        _value(
            {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
            }
        ),
        ({"v": {"a": 1}}, {"v": {"b": 1}}),
        ({"v": {}}, {"v": {"a": 1, "b": 2}}),
    ),
    SchemaCase(
        "allOf",
        {"allOf": [_object(a={"type": "integer"}), _object(b={"type": "string"})]},
        ({"a": 1, "b": "x"},),
        ({"a": 1}, {"b": "x"}, {"a": "x", "b": "x"}),
    ),
    SchemaCase(
        "if, then, else",
        _value(_ORDER),
        (
            {"v": {"kind": "card", "number": "1"}},
            {"v": {"kind": "cash", "change": 2}},
        ),
        ({"v": {"kind": "card"}}, {"v": {"kind": "cash", "number": "1"}}),
    ),
    SchemaCase(
        "dependentRequired",
        _value(
            {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "dependentRequired": {"a": ["b"]},
            }
        ),
        ({"v": {"a": 1, "b": 2}}, {"v": {"b": 2}}, {"v": {}}),
        ({"v": {"a": 1}},),
    ),
    SchemaCase(
        "anyOf at the top",
        {"anyOf": [_CAT, _DOG], "type": "object"},
        ({"kind": "cat", "lives": 1}, {"kind": "dog", "tricks": []}),
        ({"kind": "cat", "tricks": []}, {}),
    ),
    SchemaCase(
        "unevaluatedProperties alone",
        {**_object(a={"type": "integer"}), "unevaluatedProperties": False},
        ({"a": 1},),
        ({"a": 1, "b": 2},),
    ),
]

_REFUSALS = [
    _refused("uniqueItems", {"type": "array", "uniqueItems": True}),
    _refused("contains", {"type": "array", "contains": {"type": "integer"}}),
    _refused("oneOf that overlaps", {"oneOf": [{"type": "integer"}, {"type": "number"}]}),
    _refused("not a pattern", {"type": "string", "not": {"pattern": "a"}}),
    _refused("pattern with look-ahead", {"type": "string", "pattern": "^(?!a)"}),
    _refused("pattern with backreference", {"type": "string", "pattern": "^(a)\\1$"}),
    _refused("pattern with word boundary", {"type": "string", "pattern": "\\bfoo\\b"}),
    _refused("unknown format", {"type": "string", "format": "colour"}),
    _refused("remote $ref", {"$ref": "https://example.org/schema.json"}),
    _refused("$dynamicRef", {"$dynamicRef": "#node"}),
    _refused("minProperties 2 of a map", {"type": "object", "minProperties": 2}),
    _refused("patterns that overlap", {"type": "object", "patternProperties": {"a": {}, "b": {}}}),
    _refused("unevaluatedProperties", {"anyOf": [{}], "unevaluatedProperties": False}),
    _refused("bound above 2**53", {"type": "integer", "minimum": 10**17}),
    _refused("misspelt keyword", {"type": "string", "minlength": 2}),
    _refused("x-guidance", {"type": "string", "x-guidance": {"lenient": True}}),
    _refused("no document fits", {"type": "integer", "minimum": 2, "maximum": 1}),
    _refused("unproductive $ref", {"$ref": "#/properties/v"}),
]

CASES: tuple[SchemaCase, ...] = (*_VALUES, *_OBJECTS, *_REFUSALS)
