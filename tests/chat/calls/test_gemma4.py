from __future__ import annotations

import json

import pytest
from call_reading import INTEGER, STRING, TOOLS, arguments_of, read_calls, tool
from lark_matching import section_matcher

from llmd.chat.calls.base import ToolSchemas
from llmd.chat.calls.gemma4 import Gemma4Calls

GEMMA = Gemma4Calls()
Q = '<|"|>'


def call(body: str) -> str:
    return f"<|tool_call>call:{body}<tool_call|>"


PARIS = call(f"get_weather{{city:{Q}Paris{Q},days:3}}")


def test_a_call_is_read() -> None:
    answer = read_calls(GEMMA, PARIS + "So.")
    assert arguments_of(answer) == [("get_weather", {"city": "Paris", "days": 3})]
    assert answer.content == "So."


def test_values_may_be_nested() -> None:
    body = f"f{{a:[1,{Q}x{Q},null,None,[]],b:{{c:{{}},{Q}d e{Q}:True}},e:-1.5e3,g:false}}"
    value = {
        "a": [1, "x", None, None, []],
        "b": {"c": {}, "d e": True},
        "e": -1500.0,
        "g": False,
    }
    assert arguments_of(read_calls(GEMMA, call(body))) == [("f", value)]


def test_strings_are_kept_word_by_word() -> None:
    text = 'if {a: "b"} <tool_call|> <|" \\ \n'
    body = f"write_file{{path:{Q}{Q},text:{Q}{text}{Q}}}"
    assert arguments_of(read_calls(GEMMA, call(body)))[0][1] == {"path": "", "text": text}


def test_plain_quotes_and_blanks_are_forgiven() -> None:
    body = 'get_weather {\n "city" : "São \\"Paulo\\"" ,\n days : 3 }'
    assert arguments_of(read_calls(GEMMA, call(body))) == [
        ("get_weather", {"city": 'São "Paulo"', "days": 3})
    ]


def test_bare_words_are_strings() -> None:
    body = "f{unit:degrees celsius}"
    assert arguments_of(read_calls(GEMMA, call(body))) == [("f", {"unit": "degrees celsius"})]


def test_a_missing_closer_is_forgiven() -> None:
    text = PARIS.removesuffix("<tool_call|>")
    assert len(read_calls(GEMMA, text).calls) == 1


@pytest.mark.parametrize("length", range(len("<|tool_call>call:get_weather{"), len(PARIS), 3))
def test_an_answer_that_ends_inside_a_call_has_valid_arguments(length: int) -> None:
    assert len(arguments_of(read_calls(GEMMA, PARIS[:length]))) == 1


def test_what_a_length_limit_cut_is_not_made_up() -> None:
    text = PARIS.partition("ris")[0]
    assert read_calls(GEMMA, text, is_cut=True).calls[0].arguments == '{"city": "Pa'


def test_what_breaks_off_is_text() -> None:
    answer = read_calls(GEMMA, call("f{a:1,:}"))
    assert arguments_of(answer) == [("f", {"a": 1})]
    assert answer.content == ":}"


@pytest.mark.parametrize("text", ["<|tool_call>", "<|tool_call>call it", "<|tool_call>call:f(a)"])
def test_what_is_no_call_is_text(text: str) -> None:
    answer = read_calls(GEMMA, text)
    assert (answer.content, answer.calls) == (text, ())


def test_deep_nesting_is_only_a_longer_text() -> None:
    reader = GEMMA.reader("<|tool_call>", ToolSchemas(()))
    pieces = reader.feed("call:f{a:" + 20_000 * "[") + reader.flush(is_cut=False)
    assert len(pieces) > 20_000


def test_the_grammar_takes_valid_calls_only() -> None:
    match = section_matcher(GEMMA, TOOLS)
    assert match(PARIS)
    assert match(PARIS + call("ping{}"))
    assert match(call(f"get_weather{{city:{Q}any {{}} text{Q}}}"))
    assert not match(call("get_time{}"))
    assert not match(call("get_weather{days:3}"))
    assert not match(call(f"get_weather{{city:{Q}x{Q},days:{Q}3{Q}}}"))
    assert not match(call(f"get_weather{{city:{Q}x{Q},more:3}}"))
    assert not section_matcher(GEMMA, TOOLS, many=False)(PARIS + PARIS)


def test_the_grammar_knows_nested_schemas() -> None:
    tree = {
        "type": "object",
        "properties": {"label": STRING, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["label"],
        "additionalProperties": False,
    }
    schema = json.loads(json.dumps(tree).replace('"#"', '"#/properties/tree"'))
    options = {"anyOf": [{"enum": ["a", None, 1]}, {"type": "boolean"}]}
    few = {"type": "array", "items": INTEGER, "minItems": 1, "maxItems": 2}
    tools = (tool("f", (), tree=schema, options=options, few=few, free={"type": "object"}),)
    match = section_matcher(GEMMA, tools)
    leaf = f"{{label:{Q}x{Q}}}"
    assert match(call(f"f{{tree:{{children:[{leaf},{leaf}],label:{Q}y{Q}}}}}"))
    assert not match(call(f"f{{tree:{{children:[{leaf},1],label:{Q}y{Q}}}}}"))
    assert match(call(f"f{{options:{Q}a{Q}}}")) and match(call("f{options:null}"))
    assert match(call("f{options:true}")) and not match(call("f{options:2}"))
    assert match(call("f{few:[1,2]}")) and not match(call("f{few:[]}"))
    assert not match(call("f{few:[1,2,3]}"))
    assert match(call(f"f{{free:{{a:{{b:[1,{Q}c{Q}]}},d:null}}}}"))


def test_other_markers_and_quotes_may_be_used() -> None:
    syntax = Gemma4Calls(("<start>", "<end>"), quote="<escape>")
    text = "<start>call:get_weather{city:<escape>Paris<escape>}<end>"
    assert arguments_of(read_calls(syntax, text)) == [("get_weather", {"city": "Paris"})]
    assert section_matcher(syntax, TOOLS)(text)
