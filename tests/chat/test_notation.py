from __future__ import annotations

from typing import Any

import pytest

from llmd.chat.answer.syntax import MessageSyntax
from llmd.chat.calls.json_objects import JsonObjects, Slot
from llmd.chat.calls.pythonic import PythonicCalls
from llmd.chat.calls.section import Section
from llmd.chat.calls.tagged import Tagged
from llmd.chat.json_schema import normalize_schema
from llmd.chat.notation import unheld_part

SECTION = Section(call_open="<call>", call_close="</call>")
JSON = MessageSyntax(header="", calls=JsonObjects(SECTION))
TAGGED = MessageSyntax(
    header="",
    calls=Tagged(SECTION, name_close=">", key_open="<", key_close=">", value_close="</>"),
)
PYTHONIC = MessageSyntax(header="", calls=PythonicCalls())

EITHER = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
    "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
}


def part(syntax: MessageSyntax, value: dict[str, Any]) -> str | None:
    schema = {"type": "object", "properties": {"v": value}, "$defs": {"x": {"type": "integer"}}}
    return unheld_part(syntax, normalize_schema(schema, "parameters"))


@pytest.mark.parametrize("value", [{"anyOf": [{"pattern": "^a"}, {"type": "array"}]}, {}])
def test_json_is_held_to_everything(value: dict[str, Any]) -> None:
    assert part(JSON, value) is None
    assert unheld_part(JSON, normalize_schema(EITHER, "parameters")) is None


@pytest.mark.parametrize("key", ["", " a", 'a"b', "</x>", "a\nb"])
def test_names_that_end_too_early_between_tags(key: str) -> None:
    schema = {"type": "object", "properties": {key: {"type": "string"}}}
    assert unheld_part(TAGGED, normalize_schema(schema, "parameters")) is not None
    assert unheld_part(JSON, normalize_schema(schema, "parameters")) is None


@pytest.mark.parametrize(
    ("key", "is_held"), [("a-b", True), ("ü", True), ("a b", False), ("a=b", False)]
)
def test_names_of_arguments_in_python(key: str, is_held: bool) -> None:
    schema = {"type": "object", "properties": {key: {"type": "string"}}}
    assert (unheld_part(PYTHONIC, normalize_schema(schema, "parameters")) is None) is is_held


def test_arguments_in_a_json_string_are_held_to_nothing() -> None:
    layout = ('{"name": "', Slot.NAME, '", "arguments": ', Slot.ARGUMENTS_TEXT, "}")
    quoted = MessageSyntax(header="", calls=JsonObjects(SECTION, layout=layout))
    assert part(quoted, {"type": "string"}) == "#"


@pytest.mark.parametrize(
    "value",
    [
        {"type": "string", "pattern": "^a", "maxLength": 3},
        {"type": ["string", "null"], "format": "date"},
        {"enum": ["a", 1, None]},
        {"type": "array", "prefixItems": [{"type": "integer"}]},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"$ref": "#/$defs/x"},
    ],
)
def test_tags_hold_one_kind_of_value_each(value: dict[str, Any]) -> None:
    assert part(TAGGED, value) is None


@pytest.mark.parametrize(
    "value",
    [
        {"type": ["string", "integer"]},
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]},
        {"enum": ["a", "b"], "pattern": "^a"},
    ],
)
def test_texts_that_read_like_other_values_cannot_be_held_in_tags(value: dict[str, Any]) -> None:
    assert part(TAGGED, value) == "#/properties/v"


@pytest.mark.parametrize(
    "value",
    [
        {"type": "array", "items": {"type": "array", "prefixItems": [{"type": "integer"}]}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1},
        {"type": "string", "pattern": "^a", "format": "date"},
    ],
)
def test_a_notation_of_its_own_goes_as_far_as_lists_do(value: dict[str, Any]) -> None:
    assert part(PYTHONIC, value) == "#/properties/v"


def test_alternatives_for_all_arguments_are_held_to() -> None:
    parameters = normalize_schema(EITHER, "parameters")
    assert unheld_part(TAGGED, parameters) is unheld_part(PYTHONIC, parameters) is None


def test_arguments_of_any_name_cannot_be_held_to_a_schema() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    parameters = normalize_schema(schema, "parameters")
    assert unheld_part(JSON, parameters) is None
    assert unheld_part(TAGGED, parameters) == unheld_part(PYTHONIC, parameters) == "#"
