from __future__ import annotations

from typing import Any

import pytest
from call_reading import INTEGER, STRING, tool
from lark_matching import matches

from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.core.message import Tool


def test_schemas_are_found_by_the_tools_name() -> None:
    schemas = ToolSchemas((tool("f", a=STRING, b=INTEGER), tool("g")))
    assert schemas.names == ("f", "g")
    assert schemas.value_schema("f", "b") == INTEGER
    assert schemas.value_schema("f", "c") == {}
    assert schemas.value_schema("h", "a") == {}
    assert schemas.parameters("h") is None
    assert schemas.required("f") == ("a", "b")


@pytest.mark.parametrize("definition", [{}, {"function": {}}, {"function": {"parameters": None}}])
def test_a_tool_without_parameters_has_an_empty_schema(definition: dict[str, Any]) -> None:
    schemas = ToolSchemas((Tool(name="f", definition=definition),))
    assert schemas.parameters("f") == {}
    assert schemas.object_schema("f") == {"type": "object"}
    assert schemas.required("f") == ()


def test_a_schema_too_deep_to_walk_says_nothing() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"properties": {"a": deep}}
    schemas = ToolSchemas((Tool(name="f", definition={"function": {"parameters": deep}}),))
    assert schemas.value_schema("f", "a") == {}


def test_references_stand_alone_in_a_value() -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/Name"}},
        "$defs": {"Name": {"enum": ["x"]}},
    }
    schemas = ToolSchemas((Tool(name="f", definition={"function": {"parameters": parameters}}),))
    rules = GrammarRules()
    rules.add("start", rules.json(schemas.value_schema("f", "a")))
    assert matches(rules.text(), '"x"')
    assert not matches(rules.text(), '"y"')


def test_rules_get_unique_names() -> None:
    rules = GrammarRules()
    assert rules.add("Call-1", '"a"') == "call_1"
    assert rules.add("call 1", '"b"') == "call_1_2"
    assert rules.add("call.1", '"a"') == "call_1"
    assert rules.reserve("call_1") == "call_1_3"
    assert rules.add("日本", '"c"') == "rule"


@pytest.mark.parametrize("text", ['quote " and \\', "line\nbreak\t", "<|marker|>", "São｜▁", "/x/"])
def test_a_literal_matches_its_text(text: str) -> None:
    rules = GrammarRules()
    rules.add("start", rules.literal(text))
    assert matches(rules.text(), text)
    assert not matches(rules.text(), text + "x")


def test_a_text_ends_with_its_first_suffix() -> None:
    rules = GrammarRules()
    rules.add("start", f'{rules.until("</a>")} "b"')
    assert matches(rules.text(), "one\n</ two</a>b")
    assert not matches(rules.text(), "one</a>two</a>b")
    assert rules.until("</a>") == rules.until("</a>")


def test_a_rule_may_contain_itself() -> None:
    rules = GrammarRules()
    nested = rules.reserve("nested")
    rules.define(nested, f'"(" {nested}? ")"')
    rules.add("start", nested)
    assert matches(rules.text(), "((()))")
    assert not matches(rules.text(), "(()")


@pytest.mark.parametrize(
    ("members", "good", "bad"),
    [
        ([("a", True), ("b", False), ("c", True)], ["a,c", "a,b,c"], ["", "a", "b,c", "a,,c"]),
        ([("a", False), ("b", False)], ["", "a", "b", "a,b"], ["b,a", "a,", ",b"]),
        ([("a", False), ("b", True)], ["b", "a,b"], ["", "a"]),
        ([], [""], ["a"]),
    ],
)
def test_listed_members_keep_their_order(
    members: list[tuple[str, bool]], good: list[str], bad: list[str]
) -> None:
    rules = GrammarRules()
    listed = rules.listed([(f'"{name}"', must) for name, must in members], '","')
    rules.add("start", f'"[" {listed} "]"')
    assert [text for text in good if not matches(rules.text(), f"[{text}]")] == []
    assert [text for text in bad if matches(rules.text(), f"[{text}]")] == []


def test_blanks_in_json_are_bounded() -> None:
    rules = GrammarRules()
    rules.add("start", rules.json({"type": "object", "properties": {"a": INTEGER}}))
    assert matches(rules.text(), '{"a": 1}')
    assert matches(rules.text(), '{\n  "a": 1\n}')
    assert not matches(rules.text(), '{"a":' + " " * 100 + "1}")
