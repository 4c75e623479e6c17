from __future__ import annotations

from typing import Any

import pytest

from llmd.chat.answer.schema_parts import (
    by_type,
    item_schema,
    property_schema,
    resolved,
    rooted,
    schema_options,
    schema_types,
)

TREE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#"}},
        "color": {"$ref": "#/$defs/Color"},
    },
    "$defs": {"Color": {"enum": ["red", "blue"]}},
}


def test_references_hold_in_every_part() -> None:
    tree = rooted(TREE)
    children = property_schema(tree, "children")
    child = item_schema(children)
    assert schema_types(property_schema(child, "label")) == {"string"}
    assert resolved(property_schema(child, "color"))["enum"] == ["red", "blue"]


def test_a_schema_without_references_stays_small() -> None:
    assert "$defs" not in rooted({"type": "object", "$defs": {}})


def test_references_in_circles_end() -> None:
    circle = {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    }
    assert schema_types(circle) == frozenset()
    assert schema_options(circle) == []
    resolved(circle)


def test_references_elsewhere_say_nothing() -> None:
    assert schema_types({"$ref": "https://example.com/schema"}) == frozenset()


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({}, set()),
        ({"type": "integer"}, {"integer", "number"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"oneOf": [{"type": "string"}, {"properties": {}}]}, {"string", "object"}),
        ({"const": 1.5}, {"number"}),
        ({"enum": ["a", None, True]}, {"string", "null", "boolean"}),
        ({"items": {}}, {"array"}),
        ({"type": 5}, set()),
    ],
)
def test_types_are_all_that_a_value_may_have(schema: dict[str, Any], types: set[str]) -> None:
    assert schema_types(schema) == types


def test_members_without_a_schema_of_their_own_have_that_of_all_others() -> None:
    schema = {"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "number"}}
    assert property_schema(schema, "b") == {"type": "number"}
    assert property_schema({"additionalProperties": True}, "b") == {}


def test_a_member_is_found_in_any_option() -> None:
    schema = {"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "string"}}}]}
    assert property_schema(schema, "a") == {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "parts"),
    [
        ({"type": "string", "minLength": 1}, {"string": {"type": "string", "minLength": 1}}),
        (
            {"type": ["integer", "null"]},
            {"null": {"type": "null"}, "number": {"type": "integer"}},
        ),
        (
            {"anyOf": [{"type": "string", "maxLength": 2}, {"enum": ["auto", 5]}]},
            {
                "string": {
                    "anyOf": [
                        {"type": "string", "maxLength": 2},
                        {"type": "string", "enum": ["auto"]},
                    ]
                },
                "number": {"type": "number", "enum": [5]},
            },
        ),
    ],
)
def test_a_schema_comes_apart_by_types(schema: dict[str, Any], parts: dict[str, Any]) -> None:
    assert by_type(schema) == parts


def test_a_schema_that_says_nothing_has_all_types() -> None:
    assert set(by_type({})) == {"string", "number", "boolean", "null", "array", "object"}
