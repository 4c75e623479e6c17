from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_answer
from lark_matching import answer_matcher

from llmd.chat.answer.answer import Answer
from llmd.chat.families.muse import Muse

MUSE = Muse()
NEXT = "<|eom|><|start|>assistant"
THOUGHT = f" to=self<|message|>Hm.\nSo?{NEXT}"
TEXT = " to=user<|message|>It rains."
MARKUP = (
    '<atem:function_calls>\n<atem:invoke name="get_weather">\n'
    '<atem:parameter name="city">Paris</atem:parameter>\n</atem:invoke>\n</atem:function_calls>'
)
CALL = f" to=get_weather<|message|>{MARKUP}"


def test_a_thought_and_a_text_are_told_apart() -> None:
    assert read_answer(MUSE, THOUGHT + TEXT + "<|eot|>") == Answer("It rains.", "Hm.\nSo?", ())


def test_calls_are_read() -> None:
    answer = read_answer(MUSE, THOUGHT + CALL + NEXT + CALL + "<|eot|>")
    assert arguments_of(answer) == 2 * [("get_weather", {"city": "Paris"})]
    assert (answer.content, answer.reasoning) == ("", "Hm.\nSo?")


def test_a_text_in_front_of_a_call_is_text() -> None:
    answer = read_answer(MUSE, TEXT + NEXT + CALL)
    assert (answer.content, len(answer.calls)) == ("It rains.", 1)


def test_markup_that_is_quoted_is_no_call() -> None:
    text = f" to=self<|message|>{MARKUP}{NEXT} to=user<|message|>Write {MARKUP}!<|eot|>"
    assert read_answer(MUSE, text) == Answer(f"Write {MARKUP}!", MARKUP, ())


def test_without_tools_a_call_is_text() -> None:
    assert read_answer(MUSE, CALL, ()) == Answer(CALL, "", ())


def test_what_a_tool_is_told_otherwise_is_text() -> None:
    text = f" to=get_weather<|message|>Paris?{NEXT}{TEXT}"
    assert read_answer(MUSE, text).content == "Paris?It rains."


@pytest.mark.parametrize("length", range(1, len(THOUGHT + CALL), 5))
def test_an_answer_may_end_anywhere(length: int) -> None:
    arguments_of(read_answer(MUSE, (THOUGHT + CALL)[:length]))
    read_answer(MUSE, (THOUGHT + CALL)[:length], is_cut=True)


def test_a_prefilled_text_goes_on() -> None:
    answer = read_answer(MUSE, " rains.", prompt_tail=" to=user<|message|>It", keeps_prefill=True)
    assert answer.content == "It rains."


def test_the_grammar_takes_valid_calls_and_free_texts() -> None:
    match = answer_matcher(MUSE, TOOLS)
    assert match(TEXT) and match(THOUGHT + TEXT) and match(THOUGHT + CALL)
    assert match(TEXT + NEXT + CALL + NEXT + CALL)
    assert not match(CALL.replace("get_weather", "get_time"))
    assert not match(CALL.replace('name="get_weather"', 'name="ping"'))
    assert not match(CALL.replace('name="city"', 'name="town"'))
    assert not answer_matcher(MUSE)(CALL)
    assert not answer_matcher(MUSE, TOOLS, many=False)(CALL + NEXT + CALL)


def test_the_grammar_may_ask_for_a_call_or_a_format() -> None:
    assert not answer_matcher(MUSE, TOOLS, needs_call=True)(TEXT)
    assert answer_matcher(MUSE, TOOLS, needs_call=True)(THOUGHT + CALL)
    match = answer_matcher(MUSE, content='"yes" | "no"', in_thought=True)
    assert match(f"thinking{NEXT} to=user<|message|>no")
    assert not match(f"thinking{NEXT} to=user<|message|>perhaps")
