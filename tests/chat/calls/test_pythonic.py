from __future__ import annotations

import pytest
from call_reading import INTEGER, STRING, TOOLS, arguments_of, read_calls, tool
from lark_matching import section_matcher

from llmd.chat.calls.pythonic import PythonicCalls

LFM = PythonicCalls()
BARE = PythonicCalls(section=("[", ""), known_only=True)


def section(body: str) -> str:
    return f"<|tool_call_start|>[{body}]<|tool_call_end|>"


def test_calls_are_read() -> None:
    answer = read_calls(LFM, section("get_weather(city='Paris', days=3), ping()") + " So.")
    assert arguments_of(answer) == [("get_weather", {"city": "Paris", "days": 3}), ("ping", {})]
    assert answer.content == " So."


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("True", True),
        ("true", True),
        ("None", None),
        ("null", None),
        ("-1.5e3", -1500.0),
        ("'it\\'s'", "it's"),
        ('"say \\"x\\""', 'say "x"'),
        ("'a\\n\\tb\\\\n'", "a\n\tb\\n"),
        ("'\\x41\\u00e9\\U0001f600'", "Aé😀"),
        ('"\\ud83d\\ude00"', "😀"),
        ("'\\ud83d'", "\ufffd"),
        ("'C:\\q'", "C:\\q"),
        ("''", ""),
        ("'''a'b\n\"c'''", "a'b\n\"c"),
        ("['a', \"b\", 1, [], None]", ["a", "b", 1, [], None]),
        ("('a', 1)", ["a", 1]),
        ('{"a": {\'b\': True}, "c": []}', {"a": {"b": True}, "c": []}),
        ("{'a': (1, 2)}", {"a": [1, 2]}),
        ("celsius", "celsius"),
    ],
)
def test_python_and_json_literals_are_values(literal: str, value: object) -> None:
    answer = read_calls(LFM, section(f"f(a={literal}, z=1)"))
    assert arguments_of(answer) == [("f", {"a": value, "z": 1})]
    answer = read_calls(LFM, section(f"f(a={literal})"))
    assert arguments_of(answer) == [("f", {"a": value})]


@pytest.mark.parametrize(
    "text",
    [
        "it's (not) done",
        "print('hey')",
        "x = 'a', y",
        "line one\n  'two'\n",
        "l = ['a', 'b']",
        "f('a')[0]",
    ],
)
def test_raw_quotes_inside_a_string_do_not_end_it(text: str) -> None:
    answer = read_calls(LFM, section(f"write_file(path='p', text='{text}')"))
    assert arguments_of(answer) == [("write_file", {"path": "p", "text": text})]
    answer = read_calls(LFM, section(f"write_file(path='p', text='{text}'), ping()"))
    assert arguments_of(answer)[0] == ("write_file", {"path": "p", "text": text})


def test_raw_quotes_inside_a_list_do_not_end_its_strings() -> None:
    answer = read_calls(LFM, section("f(a=['it's', 'b'], c={'d': 'e's', 'g': 'h'})"))
    assert arguments_of(answer) == [("f", {"a": ["it's", "b"], "c": {"d": "e's", "g": "h"}})]


def test_dotted_names_are_names() -> None:
    assert read_calls(LFM, section("Calendar.create_event(a=1)")).calls[0].name == (
        "Calendar.create_event"
    )


def test_names_may_have_the_colons_of_other_servers() -> None:
    text = '<|tool_call_start|>[mcp:a/b(x="1"), mcp:c(y="say "it"")]<|tool_call_end|>'
    assert arguments_of(read_calls(PythonicCalls(), text)) == [
        ("mcp:a/b", {"x": "1"}),
        ("mcp:c", {"y": 'say "it"'}),
    ]


def test_calls_may_stand_each_between_markers() -> None:
    fence = PythonicCalls(("```tool_code", "```"), is_list=False)
    text = '```tool_code\nwrite_file(path="a", text="say "it"")\n```'
    assert arguments_of(read_calls(fence, text)) == [
        ("write_file", {"path": "a", "text": 'say "it"'})
    ]
    matches = section_matcher(fence, TOOLS)
    assert matches('```tool_code\nget_weather(city="Paris")\n```')
    assert not matches('```tool_code\n[get_weather(city="Paris")]\n```')


def test_arguments_without_names_are_those_of_the_schema() -> None:
    answer = read_calls(LFM, section("get_weather('Paris', 3)"))
    assert arguments_of(answer) == [("get_weather", {"city": "Paris", "days": 3})]
    answer = read_calls(LFM, section("other('Paris')"))
    assert arguments_of(answer) == [("other", {"argument_0": "Paris"})]


def test_brackets_may_be_missing() -> None:
    text = "<|tool_call_start|>ping()<|tool_call_end|>."
    answer = read_calls(LFM, text)
    assert ([call.name for call in answer.calls], answer.content) == (["ping"], ".")


WHOLE = section("get_weather(city='Paris', days=3), write_file(path='a', text=['b', {'c': 1}])")


@pytest.mark.parametrize("length", range(len("<|tool_call_start|>[get_weather("), len(WHOLE), 3))
def test_an_answer_that_ends_anywhere_has_valid_arguments(length: int) -> None:
    assert len(arguments_of(read_calls(LFM, WHOLE[:length]))) in (1, 2)


def test_what_a_length_limit_cut_is_not_made_up() -> None:
    text = WHOLE.partition("ris")[0]
    assert read_calls(LFM, text, is_cut=True).calls[0].arguments == '{"city": "Pa'


def test_what_breaks_off_is_text() -> None:
    answer = read_calls(LFM, section("f(a=1, b=[2}, c=3)") + "!")
    assert arguments_of(answer) == [("f", {"a": 1, "b": [2]})]
    assert answer.content == ", c=3)]<|tool_call_end|>!".replace("<|tool_call_end|>", "")


@pytest.mark.parametrize(
    "text", ["<|tool_call_start|>", "<|tool_call_start|>[link](url", "<|tool_call_start|>[x, y]"]
)
def test_what_is_no_call_is_text(text: str) -> None:
    answer = read_calls(LFM, text)
    assert (answer.content, answer.calls) == (text, ())


def test_bare_lists_are_calls_of_known_tools_only() -> None:
    assert arguments_of(read_calls(BARE, "[get_weather(city='Paris')]")) == [
        ("get_weather", {"city": "Paris"})
    ]
    for text in ("[link](url)", "[get_time(city='Paris')]", "[1, 2]", "[get_weather]"):
        answer = read_calls(BARE, text)
        assert (answer.content, answer.calls) == (text, ())


def test_the_grammar_takes_valid_calls_only() -> None:
    match = section_matcher(LFM, TOOLS)
    assert match(section("get_weather(city='Paris', days=3), ping()"))
    assert match(section('get_weather(city="São \\"P\\"")'))
    assert not match(section("get_time()"))
    assert not match(section("get_weather(days=3)"))
    assert not match(section("get_weather(city='Paris', days='3')"))
    assert not match(section("get_weather(city='Paris', more=3)"))
    assert not match(section(""))
    assert not section_matcher(LFM, TOOLS, many=False)(section("ping(), ping()"))


def test_the_grammar_knows_nested_schemas() -> None:
    pair = {
        "type": "object",
        "properties": {"a": INTEGER, "b": {"enum": ["x", None, True]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    tools = (tool("f", (), pair=pair, tags={"type": "array", "items": STRING}, free={}),)
    match = section_matcher(LFM, tools)
    assert match(section("f(pair={'a': 1, 'b': None}, tags=['x', \"y\"])"))
    assert match(section('f(pair={"a": 1, "b": true})'))
    assert not match(section("f(pair={'b': 'x'})"))
    assert not match(section("f(pair={'a': 1, 'b': 'z'})"))
    assert match(section("f(free={'a': [1, None, 'x', {}]})"))
