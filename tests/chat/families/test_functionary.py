from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_answer
from lark_matching import answer_matcher

from llmd.chat.answer.answer import Answer
from llmd.chat.families.functionary import Functionary32

FUNCTIONARY = Functionary32()
PARIS = 'get_weather\n{"city": "Paris"}'
PING = "ping\n{}"


def test_the_first_line_is_the_recipient() -> None:
    assert read_answer(FUNCTIONARY, "all\nIt\nrains.") == Answer("It\nrains.", "", ())
    assert arguments_of(read_answer(FUNCTIONARY, PARIS)) == [("get_weather", {"city": "Paris"})]


def test_calls_may_follow_text_and_each_other() -> None:
    answer = read_answer(FUNCTIONARY, f"all\nLet me look.>>>{PARIS}>>>{PING}<|eot_id|>")
    assert answer.content == "Let me look."
    assert arguments_of(answer) == [("get_weather", {"city": "Paris"}), ("ping", {})]


def test_text_may_follow_calls() -> None:
    answer = read_answer(FUNCTIONARY, f"{PING}\n>>>all\nDone.")
    assert (answer.content, len(answer.calls)) == ("Done.", 1)


def test_only_recipients_that_we_know_begin_a_part() -> None:
    text = "In Python: >>>print(1)\n>>>get_time\n{}"
    assert read_answer(FUNCTIONARY, f"all\n{text}") == Answer(text, "", ())
    assert read_answer(FUNCTIONARY, "get_time\n{}") == Answer("get_time\n{}", "", ())
    assert read_answer(FUNCTIONARY, PARIS, ()) == Answer(PARIS, "", ())


def test_the_mark_may_stand_in_the_prompt_or_in_the_answer() -> None:
    assert len(read_answer(FUNCTIONARY, PING, prompt_tail=">>>").calls) == 1
    assert len(read_answer(FUNCTIONARY, f">>>{PING}").calls) == 1


def test_a_prefilled_text_goes_on() -> None:
    answer = read_answer(
        FUNCTIONARY, f"look.>>>{PING}", prompt_tail=">>>all\nLet me ", keeps_prefill=True
    )
    assert (answer.content, len(answer.calls)) == ("Let me look.", 1)
    assert read_answer(FUNCTIONARY, "look.", prompt_tail=">>>all\nLet me ").content == "look."


def test_an_end_of_turn_is_cut_off_at_the_end_only() -> None:
    assert read_answer(FUNCTIONARY, "all\nA<|eot_id|>\n").content == "A"
    assert read_answer(FUNCTIONARY, "all\nA<|eot_id|>\nB").content == "A<|eot_id|>\nB"


@pytest.mark.parametrize("length", range(len(PARIS)))
def test_an_answer_may_end_anywhere(length: int) -> None:
    arguments_of(read_answer(FUNCTIONARY, PARIS[:length]))
    read_answer(FUNCTIONARY, PARIS[:length], is_cut=True)


def test_the_prompts_tail_stands_behind_the_last_header() -> None:
    header = FUNCTIONARY.header
    assert FUNCTIONARY.prompt_tail(f"a{header}>>>all\nb<|eot_id|>{header}>>>") == ">>>"
    assert FUNCTIONARY.prompt_tail("other") == ""


def test_the_grammar_takes_valid_calls_and_free_texts() -> None:
    match = answer_matcher(FUNCTIONARY, TOOLS)
    assert match(PARIS) and match(f"{PARIS}>>>{PING}>>>{PARIS}")
    assert match("all\nIt rains >>> soon.") and match(f"all\nLook:>>>{PING}>>>{PARIS}")
    assert not match("get_time\n{}")
    assert not match("get_weather\n{}")
    assert not match(f"{PING}>>>get_time\n{{}}")
    assert not match("all\nLook:>>>get_weather\n{}")
    assert not answer_matcher(FUNCTIONARY)(PING)
    assert not answer_matcher(FUNCTIONARY, TOOLS, many=False)(f"{PING}>>>{PING}")


def test_the_grammar_may_ask_for_a_call_or_a_format() -> None:
    match = answer_matcher(FUNCTIONARY, TOOLS, needs_call=True)
    assert match(PING) and match(f"all\nLook:>>>{PING}") and not match("all\nIt rains.")
    match = answer_matcher(FUNCTIONARY, content='"yes" | "no"')
    assert match("all\nyes") and match("all\nno") and not match("all\nperhaps")
