from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmd.chat.answer.literals import escaped, json_string, json_value

STRING = {"type": "string"}
SCHEMAS: list[dict[str, Any]] = [
    {},
    STRING,
    {"type": "integer"},
    {"type": ["string", "null"]},
    {"anyOf": [{"type": "object"}, {"type": "array"}]},
]


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("3", {"type": "integer"}, 3),
        ("3", {}, 3),
        ("3", STRING, "3"),
        (" true ", STRING, " true "),
        ("true", {"type": "boolean"}, True),
        ("True", {"type": "boolean"}, True),
        ("None", {}, None),
        ("{'a': [1, True, None]}", {"type": "object"}, {"a": [1, True, None]}),
        ("(1, 2)", {"type": "array"}, [1, 2]),
        ("null", {"type": ["string", "null"]}, None),
        ("nothing", {"type": ["string", "null"]}, "nothing"),
        ("5", {"anyOf": [STRING, {"type": "integer"}]}, 5),
        ("5", {"enum": ["5", "6"]}, "5"),
        ("5", {"enum": [5, 6]}, 5),
        ("celsius", {"type": "integer"}, "celsius"),
        ("celsius", {}, "celsius"),
        ("'quoted'", {}, "'quoted'"),
        ("NaN", {}, "NaN"),
        ("{1, 2}", {}, "{1, 2}"),
        ("[TODO]", {}, "[TODO]"),
        ("{'path': 'C:\\q'}", {}, {"path": "C:\\q"}),
        ("(hello)", {}, "(hello)"),
        ("", {}, ""),
        ("[1, 2]", {"$ref": "#/$defs/List", "$defs": {"List": {"type": "array"}}}, [1, 2]),
        ("7", {"$ref": "#/$defs/Text", "$defs": {"Text": STRING}}, "7"),
    ],
)
def test_a_text_becomes_the_value_that_its_schema_wants(
    text: str, schema: dict[str, Any], value: object
) -> None:
    assert json.loads(json_value(text, schema)) == value


def test_json_keeps_its_spelling() -> None:
    assert json_value('{"b":1.50, "a":[ ]}', {}) == '{"b":1.50, "a":[ ]}'


@settings(deadline=None)
@given(st.text(alphabet="{}[]()'\"\\,: 1TFNrunale\n", max_size=30), st.sampled_from(SCHEMAS))
def test_it_always_gives_valid_json(text: str, schema: dict[str, Any]) -> None:
    json.loads(json_value(text, schema))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{'a':" * 10_000,
        "1" * 100_000,
        "(" * 300,
        "[True, " + "[" * 9999 + "]" * 10000,
    ],
)
def test_a_hostile_text_is_a_string_or_a_number(text: str) -> None:
    json.dumps(json_value(text, {}))


def test_lone_surrogates_can_be_sent() -> None:
    json_string("a\ud800b").encode()
    assert json.loads(json_string("a\ud800b")) == "a\ud800b"


@settings(deadline=None)
@given(st.text(), st.text())
def test_escaping_may_be_done_piece_by_piece(one: str, two: str) -> None:
    assert json.loads(f'"{escaped(one)}{escaped(two)}"') == one + two
