from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_calls
from lark_matching import section_matcher

from llmd.chat.calls.kimi_k2 import KimiK2Calls

KIMI = KimiK2Calls()
BEGIN, END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"


def call(id: str, arguments: str) -> str:
    return f"<|tool_call_begin|>{id}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"


PARIS = call("functions.get_weather:0", '{"city": "Paris"}')
PING = call("functions.ping:1", "{}")


def test_the_id_holds_the_name() -> None:
    answer = read_calls(KIMI, BEGIN + PARIS + PING + END + "more")
    assert arguments_of(answer) == [("get_weather", {"city": "Paris"}), ("ping", {})]
    assert [c.id for c in answer.calls] == ["functions.get_weather:0", "functions.ping:1"]
    assert answer.content == "more"


@pytest.mark.parametrize(
    ("id", "name"), [("get_weather:3", "get_weather"), ("functions.a.b:0", "a.b"), ("x", "x")]
)
def test_ids_may_lack_parts(id: str, name: str) -> None:
    assert read_calls(KIMI, BEGIN + call(id, "{}") + END).calls[0].name == name


def test_markers_may_be_missing() -> None:
    text = (PARIS + PING).replace("<|tool_call_end|>", "")
    answer = read_calls(KIMI, text)
    assert arguments_of(answer) == [("get_weather", {"city": "Paris"}), ("ping", {})]
    assert answer.content == ""


def test_blanks_do_not_matter() -> None:
    text = f"{BEGIN}\n{PARIS}\n{PING}\n{END}".replace("<|tool_call_arg", " \n<|tool_call_arg")
    assert len(read_calls(KIMI, text).calls) == 2


def test_no_arguments_are_none() -> None:
    assert read_calls(KIMI, call("functions.ping:0", "")).calls[0].arguments == "{}"


def test_arguments_that_break_off_are_closed_and_the_rest_is_text() -> None:
    answer = read_calls(KIMI, BEGIN + call("f:0", '{"a": 1 2}') + PING + END)
    assert arguments_of(answer) == [("f", {"a": 1}), ("ping", {})]
    assert answer.content == "2}"


def test_the_end_of_the_answer_closes_the_arguments() -> None:
    text = BEGIN + PARIS.partition("ris")[0]
    assert arguments_of(read_calls(KIMI, text)) == [("get_weather", {"city": "Pa"})]
    assert read_calls(KIMI, text, is_cut=True).calls[0].arguments == '{"city": "Pa'


@pytest.mark.parametrize("text", [BEGIN, BEGIN + "hm", "<|tool_call_begin|>f:0 or so", BEGIN + END])
def test_what_is_no_call_is_text(text: str) -> None:
    answer = read_calls(KIMI, text)
    assert (answer.content, answer.calls) == (text, ())


def test_the_grammar_takes_valid_calls_only() -> None:
    match = section_matcher(KIMI, TOOLS)
    assert match(BEGIN + PARIS + PING + END)
    assert match(PARIS)
    assert not match(BEGIN + END)
    assert not match(BEGIN + call("functions.get_time:0", "{}") + END)
    assert not match(BEGIN + call("functions.get_weather:0", "{}") + END)
    assert not match(BEGIN + call("functions.get_weather:0", '{"city": 3}') + END)
    assert not section_matcher(KIMI, TOOLS, many=False)(BEGIN + PARIS + PING + END)


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('"{\\"city\\": \\"Paris\\"}"', {"city": "Paris"}),
        ('""', {}),
        ("null", {}),
        ("[1]", [1]),
        ('"Paris"', "Paris"),
    ],
)
def test_arguments_that_are_quoted_as_a_whole_are_unquoted(written: str, arguments: object) -> None:
    answer = read_calls(KIMI, BEGIN + call("f:0", written) + END)
    assert arguments_of(answer) == [("f", arguments)]
