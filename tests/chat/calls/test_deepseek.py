from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_calls
from lark_matching import section_matcher

from llmd.chat.calls.deepseek import DeepSeekCalls

FENCED, PLAIN = DeepSeekCalls(is_fenced=True), DeepSeekCalls(is_fenced=False)
BEGIN, END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"


def fenced(name: str, arguments: str) -> str:
    head = f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n"
    return f"{head}{arguments}\n```<｜tool▁call▁end｜>"


def plain(name: str, arguments: str) -> str:
    return f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>"


@pytest.mark.parametrize("syntax", [FENCED, PLAIN])
@pytest.mark.parametrize("call", [fenced, plain])
def test_either_style_is_read(syntax: DeepSeekCalls, call: object) -> None:
    assert callable(call)
    one, two = call("get_weather", '{"city": "Paris"}'), call("ping", "{}")
    answer = read_calls(syntax, f"{BEGIN}{one}\n{two}{END} so")
    assert arguments_of(answer) == [("get_weather", {"city": "Paris"}), ("ping", {})]
    assert answer.content == " so"


def test_the_newline_of_the_fence_may_be_missing() -> None:
    text = BEGIN + fenced("ping", "{}").replace("\n```<", "```<") + END
    assert arguments_of(read_calls(FENCED, text)) == [("ping", {})]


def test_misspelt_openers_are_known() -> None:
    text = "<｜tool_calls_begin｜>" + fenced("ping", "{}") + END
    assert len(read_calls(FENCED, text).calls) == 1


def test_closers_may_be_missing() -> None:
    text = BEGIN + fenced("ping", "{}").removesuffix("\n```<｜tool▁call▁end｜>")
    assert len(read_calls(FENCED, text + "\n" + fenced("ping", "{}")).calls) == 2


def test_an_answer_that_ends_inside_a_call_is_closed() -> None:
    text = BEGIN + fenced("get_weather", '{"city": "Par')[: -len("\n```<｜tool▁call▁end｜>")]
    assert arguments_of(read_calls(FENCED, text)) == [("get_weather", {"city": "Par"})]
    assert read_calls(FENCED, text, is_cut=True).calls[0].arguments == '{"city": "Par'


@pytest.mark.parametrize("text", [BEGIN + "?", BEGIN + END, BEGIN + "<｜tool▁call▁begin｜>\n"])
def test_what_is_no_call_is_text(text: str) -> None:
    answer = read_calls(FENCED, text)
    assert (answer.content, answer.calls) == (text, ())


@pytest.mark.parametrize(("syntax", "call"), [(FENCED, fenced), (PLAIN, plain)])
def test_the_grammar_takes_valid_calls_only(syntax: DeepSeekCalls, call: object) -> None:
    assert callable(call)
    paris, ping = call("get_weather", '{"city": "Paris"}'), call("ping", "{}")
    match = section_matcher(syntax, TOOLS)
    assert match(BEGIN + paris + ping + END)
    assert match(BEGIN + paris + "\n" + ping + END)
    assert not match(BEGIN + call("get_time", "{}") + END)
    assert not match(BEGIN + call("get_weather", '{"days": 1}') + END)
    assert not match(BEGIN + END)
    assert not section_matcher(syntax, TOOLS, many=False)(BEGIN + paris + ping + END)
