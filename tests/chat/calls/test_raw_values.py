from __future__ import annotations

from typing import Any

import pytest
from lark_matching import matches

from llmd.chat.calls.base import GrammarRules
from llmd.chat.calls.raw_values import raw_value
from llmd.chat.json_schema import normalize_schema


def accepts(schema: dict[str, Any], text: str) -> bool:
    rules = GrammarRules()
    value = raw_value(rules, normalize_schema(schema, "schema"), "</p>")
    rules.add("start", f'{value} "."')
    return matches(rules.text(), f"{text}</p>.")


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string"}, ["", "a\n<p>", '{"a": 1}'], []),
        ({}, ["", "text", "5"], []),
        ({"type": "integer"}, ["5", "-12"], ["", "5.5", '"5"', "five"]),
        ({"type": "boolean"}, ["true", "false"], ["True", "yes"]),
        ({"enum": ["a", "b c", 3, None]}, ["a", "b c", "3", "null"], ["b", "4"]),
        ({"type": "string", "pattern": "^[a-z]+/[0-9]$"}, ["ab/1"], ["ab/", "/1", "xab/12"]),
        ({"type": "string", "pattern": "b+"}, ["b", "abbc"], ["ac"]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a", "abcd"]),
        (
            {"type": "string", "pattern": "^a", "maxLength": 3, "allOf": [{"pattern": "c$"}]},
            ["abc", "ac"],
            ["abbc", "bc", "ab"],
        ),
        ({"type": "string", "format": "date"}, ["2024-02-29"], ["2023-02-29", "today"]),
        ({"type": ["string", "null"]}, ["x", "null"], []),
        (
            {"anyOf": [{"type": "string", "pattern": "^v[0-9]$"}, {"type": "integer"}]},
            ["v1", "12"],
            ["v", "x"],
        ),
        (
            {"anyOf": [{"type": "string", "maxLength": 1}, {"enum": ["auto"]}, {"type": "null"}]},
            ["x", "auto", "null"],
            ["xy"],
        ),
        ({"type": "array", "items": {"type": "integer"}}, ["[1, 2]", "[]"], ["1", '["a"]']),
        (
            {
                "$ref": "#/$defs/n",
                "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
            },
            ["[[], [[]]]"],
            ["[1]"],
        ),
    ],
)
def test_the_text_of_a_value_is_held_to_its_schema(
    schema: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    assert [text for text in good if not accepts(schema, text)] == []
    assert [text for text in bad if accepts(schema, text)] == []
