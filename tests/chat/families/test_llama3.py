from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_answer
from lark_matching import answer_matcher

from llmd.chat.answer.answer import Answer
from llmd.chat.families.llama3 import Llama3

LLAMA = Llama3()
PARIS = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
PING = '{"name": "ping", "parameters": {}}'


@pytest.mark.parametrize(
    "text",
    [
        PARIS,
        f" \n{PARIS}<|eot_id|>",
        '{"type": "function", "name": "get_weather", "parameters": {"city": "Paris"}}',
        '{"function": "get_weather", "arguments": {"city": "Paris"}}',
        '{"parameters": {"city": "Paris"}, "name": "get_weather"}',
        f"<|python_tag|>{PARIS}<|eom_id|>",
        '<|python_tag|>get_weather.call(city="Paris")',
        "[get_weather(city='Paris')]",
        f"<|python_start|>{PARIS}<|python_end|>",
    ],
)
def test_an_answer_that_is_an_object_is_a_call(text: str) -> None:
    answer = read_answer(LLAMA, text)
    assert arguments_of(answer) == [("get_weather", {"city": "Paris"})]
    assert answer.content == ""


def test_several_calls_are_read() -> None:
    for separator in ("; ", "\n", ""):
        answer = read_answer(LLAMA, f"{PARIS}{separator}{PING}")
        assert [call.name for call in answer.calls] == ["get_weather", "ping"]


def test_text_behind_a_call_is_text() -> None:
    assert read_answer(LLAMA, f"{PING} Done.").content == " Done."


@pytest.mark.parametrize(
    "text",
    [
        "It rains.",
        '{"name": "Ann", "age": 3}',
        '{"name": "get_time", "parameters": {}}',
        '{"name": "get_weather"}',
        '{"a": 1}',
        "{",
        f"I call {PING}",
        "<|python_tag|>print(1)",
        "[1, 2]",
        "[link](url)",
        "<|python_tag|>",
    ],
)
def test_all_else_is_text_word_by_word(text: str) -> None:
    assert read_answer(LLAMA, text) == Answer(text, "", ())


def test_without_tools_an_object_is_text() -> None:
    assert read_answer(LLAMA, PARIS, ()) == Answer(PARIS, "", ())


@pytest.mark.parametrize("length", range(len(PARIS)))
def test_an_answer_may_end_anywhere(length: int) -> None:
    answer = read_answer(LLAMA, PARIS[:length])
    assert answer.content == PARIS[:length] or arguments_of(answer)
    read_answer(LLAMA, PARIS[:length], is_cut=True)


def test_what_a_length_limit_cut_is_not_made_up() -> None:
    answer = read_answer(LLAMA, PARIS.partition("ris")[0], is_cut=True)
    assert answer.calls[0].arguments == '{"city": "Pa'


def test_a_prefilled_text_is_no_call() -> None:
    answer = read_answer(LLAMA, PING, prompt_tail="I call ")
    assert answer == Answer(PING, "", ())


def test_the_grammar_takes_valid_calls_and_free_texts() -> None:
    match = answer_matcher(LLAMA, TOOLS)
    assert match(PARIS) and match(f"{PARIS}; {PING}") and match("It rains.") and match("")
    assert not match('{"name": "get_time", "parameters": {}}')
    assert not match('{"name": "get_weather", "parameters": {}}')
    assert not match('{"a": 1}')
    assert answer_matcher(LLAMA)('{"a": 1}')
    assert not answer_matcher(LLAMA, TOOLS, many=False)(f"{PING}; {PING}")


def test_the_grammar_may_ask_for_a_call_or_a_format() -> None:
    match = answer_matcher(LLAMA, TOOLS, needs_call=True)
    assert match(PING) and not match("It rains.")
    match = answer_matcher(LLAMA, content='"yes" | "no"')
    assert match("yes") and not match("perhaps")
