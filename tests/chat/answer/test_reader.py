from __future__ import annotations

import time
from dataclasses import replace

import pytest
from call_reading import TOOLS, arguments_of, read_answer

from llmd.chat.answer.answer import join_pieces
from llmd.chat.answer.piece import CallArguments, CallStarted, Piece, Text, Thought
from llmd.chat.answer.syntax import MessageSyntax, ThoughtSyntax
from llmd.chat.calls.base import ToolSchemas
from llmd.chat.calls.json_objects import JsonObjects
from llmd.chat.calls.section import Section

CALLS = JsonObjects(Section("<call>", "</call>"))
SYNTAX = MessageSyntax(
    header="<bot>\n",
    thought=ThoughtSyntax("<think>", "</think>"),
    calls=CALLS,
    ends=("<end>",),
)
INTERRUPTING = replace(SYNTAX, calls=replace(CALLS, ends_thoughts=True))
ANSWER_TAGS = replace(SYNTAX, content=("<say>", "</say>"))
PING = '<call>{"name": "ping", "arguments": {}}</call>'
PIPES = replace(SYNTAX, thought=ThoughtSyntax("<|think|>", "<|/think|>"))


def test_a_thought_text_and_calls() -> None:
    answer = read_answer(SYNTAX, f"<think>\nWhy?\n</think>\n\nHello.\n\n{PING}\n{PING}<end>")
    assert (answer.reasoning, answer.content) == ("Why?", "Hello.")
    assert [call.name for call in answer.calls] == ["ping", "ping"]


def test_text_is_passed_on_word_by_word() -> None:
    text = " \n Hello <b>\n\n  world </b> <thin <cal \n"
    assert read_answer(SYNTAX, text).content == text


def test_text_behind_calls() -> None:
    answer = read_answer(SYNTAX, f"One.\n{PING}\n\nTwo.\n")
    assert answer.content == "One.Two.\n"


def test_without_tools_calls_are_text() -> None:
    answer = read_answer(SYNTAX, f"a\n{PING}", [])
    assert (answer.content, answer.calls) == (f"a\n{PING}", ())


def test_what_only_begins_like_calls_is_text() -> None:
    text = "Write <call> and </call>\n<call>\n"
    assert read_answer(SYNTAX, text).content == text


@pytest.mark.parametrize("tail", ["<think>", "<think>\n"])
def test_a_thought_may_be_opened_by_the_prompt(tail: str) -> None:
    answer = read_answer(SYNTAX, "Why?\n</think>Hello", prompt_tail=tail)
    assert (answer.reasoning, answer.content) == ("Why?", "Hello")


def test_a_thought_may_be_shut_by_the_prompt() -> None:
    answer = read_answer(SYNTAX, "Hello", prompt_tail="<think>\n\n</think>\n\n")
    assert (answer.reasoning, answer.content) == ("", "Hello")


def test_a_bare_closer_at_the_start_is_dropped() -> None:
    answer = read_answer(SYNTAX, "\n</think>\nHello </think>")
    assert (answer.reasoning, answer.content) == ("", "Hello </think>")


def test_an_opener_within_a_thought_is_a_part_of_it() -> None:
    answer = read_answer(SYNTAX, "<think>\n\n</think>a", prompt_tail="<think>\n")
    assert (answer.reasoning, answer.content) == ("<think>", "a")


def test_two_thoughts_in_a_row() -> None:
    answer = read_answer(SYNTAX, "<think>a</think>\n<think>b</think>\nc")
    assert (answer.reasoning, answer.content) == ("ab", "c")


def test_a_thought_may_follow_calls() -> None:
    answer = read_answer(SYNTAX, f"{PING}<think>a</think>b")
    assert (answer.reasoning, answer.content, len(answer.calls)) == ("a", "b", 1)


def test_a_tag_within_a_text_begins_no_thought() -> None:
    text = "Use <think> to think</think>."
    assert read_answer(SYNTAX, text).content == text


def test_a_control_token_within_a_text_begins_a_thought() -> None:
    answer = read_answer(PIPES, "a <|think|>b<|/think|> c")
    assert (answer.reasoning, answer.content) == ("b", "ac")


def test_an_unfinished_thought_is_a_thought() -> None:
    answer = read_answer(SYNTAX, "<think>Why is it", is_cut=True)
    assert (answer.reasoning, answer.content) == ("Why is it", "")


def test_calls_within_a_thought_belong_to_it() -> None:
    answer = read_answer(SYNTAX, f"<think>a {PING}")
    assert (answer.reasoning, answer.calls) == (f"a {PING}", ())


def test_calls_may_end_a_thought() -> None:
    answer = read_answer(INTERRUPTING, f"<think>a\n{PING}b")
    assert (answer.reasoning, answer.content, len(answer.calls)) == ("a", "b", 1)


def test_a_mere_opener_does_not_end_a_thought() -> None:
    answer = read_answer(INTERRUPTING, "<think>Shall I <call> it? </think>No.")
    assert (answer.reasoning, answer.content) == ("Shall I <call> it?", "No.")


def test_thoughts_may_stay_in_the_text() -> None:
    text = "\n<think>\na\n</think>\n\nb"
    answer = read_answer(SYNTAX, f"{text}\n{PING}", splits_thoughts=False)
    assert (answer.reasoning, answer.content, len(answer.calls)) == ("", text, 1)


def test_the_prompts_opener_is_a_part_of_a_thought_in_the_text() -> None:
    answer = read_answer(SYNTAX, "a</think>b", prompt_tail="<think>\n", splits_thoughts=False)
    assert answer.content == "<think>\na</think>b"


def test_the_prompts_opener_is_nothing_where_no_thought_follows() -> None:
    syntax = replace(PIPES, content=("<|say|>", "<|/say|>"))
    answer = read_answer(syntax, "<|say|>b<|/say|>", prompt_tail="<|think|>", splits_thoughts=False)
    assert answer.content == "b"


def test_markers_around_content_are_dropped() -> None:
    answer = read_answer(ANSWER_TAGS, f"<think>a</think><say>b</say><end>{PING}")
    assert (answer.reasoning, answer.content, len(answer.calls)) == ("a", "b", 1)


def test_markers_around_content_may_be_missing() -> None:
    assert read_answer(ANSWER_TAGS, "b <say> </say>").content == "b <say> </say>"


def test_a_control_token_that_opens_the_content_ends_a_thought() -> None:
    syntax = replace(PIPES, content=("<|say|>", "<|/say|>"))
    answer = read_answer(syntax, "a<|say|>b<|/say|>", prompt_tail="<|think|>")
    assert (answer.reasoning, answer.content) == ("a", "b")


def test_a_tag_that_opens_the_content_is_a_word_in_a_thought() -> None:
    answer = read_answer(ANSWER_TAGS, "I <say> it</think><say>b</say>", prompt_tail="<think>")
    assert (answer.reasoning, answer.content) == ("I <say> it", "b")


def test_a_marker_that_begins_another_counts_at_the_end() -> None:
    syntax = replace(SYNTAX, noise=("<|a|>", "<|a|>b"))
    assert read_answer(syntax, "x<|a|>").content == "x"


def test_a_control_token_that_closes_a_content_which_nobody_opened_is_dropped() -> None:
    syntax = replace(PIPES, content=("<|say|>", "<|/say|>"))
    answer = read_answer(syntax, f"<|think|>Why?<|/think|><|/say|>{PING}")
    assert (answer.reasoning, answer.content, len(answer.calls)) == ("Why?", "", 1)


def test_the_prompt_may_open_the_content() -> None:
    assert read_answer(ANSWER_TAGS, "b</say>", prompt_tail="<say>").content == "b"


@pytest.mark.parametrize("end", ["<end>", "<end>\n", "\n<end><end>\n"])
def test_an_end_of_turn_is_no_content(end: str) -> None:
    assert read_answer(SYNTAX, f"Hello.{end}").content == "Hello."
    assert read_answer(SYNTAX, f"<think>Why{end}").reasoning == "Why"


def test_an_end_of_turn_within_a_text_stays() -> None:
    assert read_answer(SYNTAX, "An <end> is near.").content == "An <end> is near."


def test_noise_within_a_text_is_dropped() -> None:
    syntax = replace(SYNTAX, noise=("<|eom|><bot>",))
    answer = read_answer(syntax, f"a<|eom|><bot>{PING}")
    assert (answer.content, len(answer.calls)) == ("a", 1)


@pytest.mark.parametrize(
    ("tail", "output", "content"),
    [
        ("Hello, ", "world", "world"),
        ("Hello", " world", " world"),
        ("a <", "b>", "b>"),
        ("a <cal", "f>", "f>"),
        ("a\n", PING, ""),
    ],
)
def test_what_the_prompt_began_is_not_said_again(tail: str, output: str, content: str) -> None:
    assert read_answer(SYNTAX, output, prompt_tail=tail).content == content
    whole = read_answer(SYNTAX, output, prompt_tail=tail, keeps_prefill=True)
    assert whole.content == (tail + output if content else tail.strip())


def test_a_prefilled_thought_goes_on() -> None:
    answer = read_answer(SYNTAX, "m</think>b", prompt_tail="<think>\nI'", keeps_prefill=True)
    assert (answer.reasoning, answer.content) == ("I'm", "b")


@pytest.mark.parametrize(
    ("tail", "expected"), [("", False), ("<think>\n", True), ("<think></think>", False)]
)
def test_a_reader_knows_whether_a_thought_is_open(tail: str, expected: bool) -> None:
    reader = SYNTAX.reader(tail, ToolSchemas(TOOLS), splits_thoughts=True)
    assert reader.in_thought is expected


def test_pieces_come_as_soon_as_they_are_certain() -> None:
    reader = SYNTAX.reader("", ToolSchemas(TOOLS), splits_thoughts=True)
    steps: list[tuple[str, list[Piece]]] = [
        ("<think>", []),
        ("Wh", [Thought("Wh")]),
        ("y? ", [Thought("y?")]),
        ("No <", [Thought(" No")]),
        ("b", [Thought(" <b")]),
        ("</think>\n", []),
        ("Hi <b", [Text("Hi <b")]),
        (" <", []),
        ('call>{"name": "pi', []),
        ('ng", "argu', []),
        ('ments": {"a', [CallStarted("ping", None), CallArguments('{"a')]),
        ('": 1', [CallArguments('": ')]),
        ("}}", [CallArguments("1}")]),
        ("</call>", []),
    ]
    assert [reader.feed(text) for text, _ in steps] == [pieces for _, pieces in steps]
    assert reader.flush() == []


def test_only_the_beginning_of_a_marker_is_held_back() -> None:
    reader = SYNTAX.reader("", ToolSchemas(TOOLS), splits_thoughts=True)
    assert reader.feed("a <cal") == [Text("a")]
    assert reader.feed("m down") == [Text(" <calm down")]


HOSTILE = {
    "openers": "<call>",
    "begun openers": "<cal",
    "thoughts": "<think></think>",
    "ends": "<end>",
    "blanks": " ",
    "calls": PING,
    "broken calls": '<call>{"name": "',
    "nested": '<call>{"name": "f", "arguments": {"a": [[[[[[',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("is_whole", [True, False])
def test_time_grows_with_the_text_and_no_faster(text: str, is_whole: bool) -> None:
    def seconds(length: int) -> float:
        whole = (text * length)[:length]
        reader = INTERRUPTING.reader("", ToolSchemas(TOOLS), splits_thoughts=True)
        start = time.process_time()
        for feed in [whole] if is_whole else whole:
            reader.feed(feed)
        reader.flush()
        return time.process_time() - start

    seconds(1000)
    few, many = (min(seconds(length) for _ in range(2)) for length in (2_000, 16_000))
    # Eight times for linear, sixty-four for quadratic.
    assert many < 32 * few + 0.05


def test_a_long_text_in_one_feed_is_the_same_as_in_many() -> None:
    text = f"<think>{'a <b> ' * 2000}</think>{'c <call ' * 1000}{PING * 50}"
    reader = SYNTAX.reader("", ToolSchemas(TOOLS), splits_thoughts=True)
    answer = join_pieces(reader.feed(text) + reader.flush())
    assert answer == read_answer(SYNTAX, text)
    assert len(arguments_of(answer)) == 50
