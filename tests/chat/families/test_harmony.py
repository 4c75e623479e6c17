from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_answer
from lark_matching import answer_matcher

from llmd.chat.answer.answer import Answer
from llmd.chat.calls.base import ToolSchemas
from llmd.chat.families.harmony import Harmony

HARMONY = Harmony()
NEXT = "<|end|><|start|>assistant"
THOUGHT = f"<|channel|>analysis<|message|>Hm.\nSo?{NEXT}"
FINAL = "<|channel|>final<|message|>It rains.\n"
ARGUMENTS = '{"city": "Paris"}'


def call(head: str, arguments: str = ARGUMENTS) -> str:
    return f"{head}<|message|>{arguments}"


def test_a_thought_and_a_text_are_told_apart() -> None:
    assert read_answer(HARMONY, THOUGHT + FINAL) == Answer("It rains.\n", "Hm.\nSo?", ())


def test_the_end_of_a_message_is_not_text() -> None:
    for end in ("<|end|>", "<|return|>"):
        assert read_answer(HARMONY, FINAL + end).content == "It rains.\n"


def test_a_preamble_is_a_paragraph_of_the_text() -> None:
    preamble = f"<|channel|>commentary<|message|>Let me see.{NEXT}"
    assert read_answer(HARMONY, preamble + FINAL).content == "Let me see.\n\nIt rains.\n"


@pytest.mark.parametrize(
    "head",
    [
        "<|channel|>commentary to=functions.get_weather <|constrain|>json",
        "<|channel|>commentary to=functions.get_weather<|constrain|>json",
        "<|channel|>commentary to=functions.get_weather json",
        "<|channel|>commentary to=functions.get_weather",
        "<|channel|>analysis to=functions.get_weather",
        " to=functions.get_weather<|channel|>commentary json",
        " to=functions.get_weather<|channel|>analysis <|constrain|>json",
        "<|channel|>commentary to=get_weather",
    ],
)
def test_calls_are_read_wherever_their_recipient_stands(head: str) -> None:
    answer = read_answer(HARMONY, THOUGHT + call(head) + "<|call|>")
    assert arguments_of(answer) == [("get_weather", {"city": "Paris"})]
    assert (answer.content, answer.reasoning) == ("", "Hm.\nSo?")


def test_several_calls_are_read() -> None:
    head = "<|channel|>commentary to=functions.get_weather"
    text = call(head) + "<|call|><|start|>assistant" + call(head) + "<|call|>"
    assert len(read_answer(HARMONY, text).calls) == 2


def test_built_in_tools_that_we_do_not_have_are_hidden() -> None:
    text = f"{THOUGHT}<|channel|>analysis to=python code<|message|>print(1){NEXT}{FINAL}"
    assert read_answer(HARMONY, text) == Answer("It rains.\n", "Hm.\nSo?", ())


def test_without_tools_a_call_is_text() -> None:
    text = call("<|channel|>commentary to=functions.get_weather")
    assert read_answer(HARMONY, text, ()) == Answer(text, "", ())


def test_a_recipient_of_our_own_side_is_none() -> None:
    text = f"<|channel|>commentary to=assistant{FINAL}"
    assert read_answer(HARMONY, text).content == "It rains.\n"


def test_arguments_that_are_no_json_are_text() -> None:
    text = call("<|channel|>commentary to=functions.ping", "no json") + NEXT + FINAL
    answer = read_answer(HARMONY, text)
    assert arguments_of(answer) == [("ping", {})]
    assert answer.content == "no jsonIt rains.\n"


def test_text_without_any_header_is_text() -> None:
    for text in ("It rains.", "today <|channel|> is quoted"):
        assert read_answer(HARMONY, text) == Answer(text, "", ())


def test_a_header_that_never_ends_is_text() -> None:
    text = "<|channel|>final and so on"
    assert read_answer(HARMONY, text) == Answer(text, "", ())


def test_a_thought_may_be_open_in_the_prompt() -> None:
    tail = "<|channel|>analysis<|message|>I"
    text = f" see.{NEXT}{FINAL}"
    assert read_answer(HARMONY, text, prompt_tail=tail).reasoning == " see."
    kept = read_answer(HARMONY, text, prompt_tail=tail, keeps_prefill=True)
    assert (kept.reasoning, kept.content) == ("I see.", "It rains.\n")


def test_the_prompts_tail_begins_with_the_first_of_our_messages() -> None:
    prompt = f"<|start|>user<|message|>x<|end|><|start|>assistant{THOUGHT}{FINAL}"
    assert HARMONY.prompt_tail(prompt) == THOUGHT + FINAL
    assert HARMONY.prompt_tail("<|start|>user<|message|>x<|end|><|start|>assistant") == ""
    assert HARMONY.prompt_tail("nothing") == ""


def test_thoughts_that_are_not_split_off_keep_their_markers() -> None:
    answer = read_answer(HARMONY, THOUGHT + FINAL, splits_thoughts=False)
    thought = THOUGHT.removesuffix("<|start|>assistant")
    assert answer == Answer(f"{thought}It rains.\n", "", ())


def test_in_thought_tells_where_the_text_ends() -> None:
    reader = HARMONY.reader("", ToolSchemas(()), splits_thoughts=True)
    reader.feed("<|channel|>analysis<|message|>Hm")
    assert reader.in_thought
    reader.feed(NEXT)
    assert not reader.in_thought


@pytest.mark.parametrize("length", range(1, 120, 5))
def test_an_answer_may_end_anywhere(length: int) -> None:
    text = THOUGHT + call("<|channel|>commentary to=functions.get_weather")
    arguments_of(read_answer(HARMONY, text[:length]))
    read_answer(HARMONY, text[:length], is_cut=True)


def test_the_grammar_takes_valid_calls_and_free_texts() -> None:
    match = answer_matcher(HARMONY, TOOLS)
    good = call("<|channel|>commentary to=functions.get_weather <|constrain|>json")
    assert match(good) and match(THOUGHT + good) and match(THOUGHT + FINAL)
    assert match(call(" to=functions.ping<|channel|>commentary json", "{}"))
    assert not match(call("<|channel|>commentary to=functions.get_time"))
    assert not match(call("<|channel|>commentary to=functions.get_weather", "{}"))
    assert not match(good + NEXT + good)
    assert not answer_matcher(HARMONY)(good)


def test_the_grammar_may_ask_for_a_call() -> None:
    match = answer_matcher(HARMONY, TOOLS, needs_call=True)
    assert match(THOUGHT + call("<|channel|>commentary to=functions.get_weather"))
    assert not match(THOUGHT + FINAL)


def test_the_grammar_holds_the_final_text_to_a_format() -> None:
    match = answer_matcher(HARMONY, content='"yes" | "no"', in_thought=True)
    for text in ("yes", "no"):
        assert match(f"still thinking{NEXT}<|channel|>final<|message|>{text}")
    assert not match(f"still thinking{NEXT}<|channel|>final<|message|>maybe")
