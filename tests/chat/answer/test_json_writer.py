from __future__ import annotations

import json

from llmd.chat.answer.json_writer import JsonWriter


def writer() -> tuple[JsonWriter, list[str]]:
    parts: list[str] = []
    return JsonWriter(parts.append), parts


def test_a_value_is_written_part_by_part() -> None:
    json_writer, parts = writer()
    json_writer.begin_object()
    json_writer.key("a")
    json_writer.string("it's\n")
    json_writer.string('"here"')
    json_writer.end_string()
    json_writer.key("b")
    json_writer.begin_array()
    json_writer.value("1")
    json_writer.value("null")
    json_writer.end()
    json_writer.end()
    assert "".join(parts) == '{"a": "it\'s\\n\\"here\\"", "b": [1, null]}'


def test_closing_makes_it_valid_wherever_it_stands() -> None:
    json_writer, parts = writer()
    json_writer.begin_object()
    json_writer.key("a")
    json_writer.begin_array()
    json_writer.begin_object()
    json_writer.key("b")
    json_writer.close()
    assert json.loads("".join(parts)) == {"a": [{"b": None}]}


def test_closing_ends_an_open_string() -> None:
    json_writer, parts = writer()
    json_writer.begin_array()
    json_writer.string("")
    json_writer.string("x")
    json_writer.close()
    assert "".join(parts) == '["x"]'


def test_an_empty_string_is_one() -> None:
    json_writer, parts = writer()
    json_writer.end_string()
    assert "".join(parts) == '""'


def test_it_knows_where_it_stands() -> None:
    json_writer, _ = writer()
    json_writer.begin_object()
    assert json_writer.in_object and not json_writer.awaits_value
    json_writer.key("a")
    assert json_writer.awaits_value
    json_writer.begin_array()
    assert not json_writer.in_object and json_writer.depth == 2
