from __future__ import annotations

from collections.abc import Callable

import pytest
from call_reading import PING, TOOLS, WEATHER
from lark_matching import matches

from llmd.chat.answer.syntax import AnswerSyntax, MessageSyntax, ThoughtSyntax
from llmd.chat.calls.json_objects import JsonObjects
from llmd.chat.calls.section import Section
from llmd.chat.families.harmony import Harmony
from llmd.chat.grammar import FinalText, answer_grammar, json_text
from llmd.core.message import Tool
from llmd.core.request import ToolChoice, ToolChoiceMode
from llmd.errors import Unsupported

CALLS = JsonObjects(Section(call_open="<call>\n", call_close="\n</call>"))
ENDING_CALLS = JsonObjects(
    Section(call_open="<call>\n", call_close="\n</call>"), ends_thoughts=True
)
THOUGHT = ThoughtSyntax("<think>", "</think>")
PLAIN = MessageSyntax(header="", calls=CALLS)
THINKING = MessageSyntax(header="", thought=THOUGHT, calls=CALLS)
CONTENT = MessageSyntax(header="", thought=THOUGHT, calls=CALLS, content=("<say>", "</say>"))

PARIS = '<call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</call>'
PONG = '<call>\n{"name": "ping", "arguments": {}}\n</call>'
WRONG = '<call>\n{"name": "get_weather", "arguments": {"city": 1}}\n</call>'
NUMBER = json_text({"type": "integer"})

AUTO = ToolChoice()
REQUIRED = ToolChoice(mode=ToolChoiceMode.REQUIRED)
NAMED = ToolChoice(mode=ToolChoiceMode.NAMED, name="ping")
NONE = ToolChoice(mode=ToolChoiceMode.NONE)


def matcher(
    syntax: AnswerSyntax,
    choice: ToolChoice = AUTO,
    *,
    tools: tuple[Tool, ...] = TOOLS,
    many: bool = True,
    final: FinalText | None = None,
    in_thought: bool = False,
    may_think: bool = True,
) -> Callable[[str], bool]:
    source = answer_grammar(
        syntax,
        tools,
        choice,
        many=many,
        final=final,
        in_thought=in_thought,
        may_think=may_think,
    )
    assert source is not None and source.kind == "lark"
    return lambda text: matches(source.text, text)


@pytest.mark.parametrize("text", ["", "Hello.", "a <b> {c}", "<call", "</think>", "x</call>"])
def test_auto_takes_any_text(text: str) -> None:
    assert matcher(THINKING)(text)


@pytest.mark.parametrize("text", [PARIS, f"Let me see.\n\n{PARIS}\n{PONG} Done.", f"\n{PONG}"])
def test_auto_takes_valid_calls_anywhere(text: str) -> None:
    assert matcher(THINKING)(text)


@pytest.mark.parametrize("text", [WRONG, f"Hm. {WRONG}", f"{PONG}{WRONG}", "<call>text", "<call>"])
def test_auto_takes_nothing_but_a_valid_call_behind_an_opener(text: str) -> None:
    assert not matcher(THINKING)(text)


@pytest.mark.parametrize(
    "text", [f"<think>{WRONG}</think>Hi.", f"\n<think>\n{WRONG}", f"<think>a</think>{PONG}"]
)
def test_thoughts_are_free(text: str) -> None:
    assert matcher(THINKING)(text)


def test_a_thought_that_the_prompt_opened_is_free_until_it_is_closed() -> None:
    match = matcher(THINKING, in_thought=True)
    assert match(f"{WRONG} and no end")
    assert match(f"{WRONG}</think>\n\n{PONG}")
    assert not match(f"hm</think>{WRONG}")


def test_a_thoughts_opener_within_a_text_is_a_word() -> None:
    match = matcher(THINKING)
    assert match("a <think> b")
    assert not match(f"a <think> {WRONG}")


def test_an_opener_ends_a_thought_where_the_format_says_so() -> None:
    syntax = MessageSyntax(header="", thought=THOUGHT, calls=ENDING_CALLS)
    for in_thought, begin in ((True, ""), (False, "<think>")):
        match = matcher(syntax, in_thought=in_thought)
        assert match(f"{begin}hm {PONG} Done.")
        assert not match(f"{begin}hm {WRONG}")


def test_one_call_is_all_where_many_are_not_allowed() -> None:
    match = matcher(THINKING, many=False)
    assert match(f"<think>a</think>Hi. {PONG}") and match("Hi.")
    assert not match(f"{PONG}\n{PONG}") and not match(f"{PONG} Done.")


def test_a_required_call_comes_at_once_or_behind_a_thought() -> None:
    match = matcher(THINKING, REQUIRED)
    assert match(PARIS) and match(f"\n{PARIS}\n{PONG}") and match(f"<think>{WRONG}</think>\n{PONG}")
    for text in ("", "Hi.", f"Hi. {PONG}", WRONG, "<think>a</think>", f"{PONG} Done."):
        assert not match(text)


@pytest.mark.parametrize("in_thought", [False, True])
def test_where_thinking_is_off_no_thought_comes_before_it(in_thought: bool) -> None:
    match = matcher(THINKING, REQUIRED, may_think=False, in_thought=in_thought)
    assert match(f"hm</think>{PONG}" if in_thought else PONG)
    assert not match(f"<think>hm</think>{PONG}") or in_thought
    form = matcher(THINKING, tools=(), final=NUMBER, may_think=False)
    assert form("7") and not form("<think>hm</think>7")


def test_a_required_call_closes_the_thought_of_the_prompt_first() -> None:
    match = matcher(THINKING, REQUIRED, in_thought=True)
    assert match(f"{WRONG}</think>\n\n{PONG}")
    assert not match(PONG) and not match("hm") and not match(f"hm</think>Hi. {PONG}")


def test_a_required_call_may_interrupt_a_thought_where_the_format_says_so() -> None:
    syntax = MessageSyntax(header="", thought=THOUGHT, calls=ENDING_CALLS)
    assert matcher(syntax, REQUIRED, in_thought=True)(f"hm {PONG}\n{PARIS}")
    assert matcher(syntax, REQUIRED)(f"<think>hm {PONG}")
    assert not matcher(syntax, REQUIRED, many=False)(f"<think>hm {PONG}{PONG}")


def test_a_named_tool_is_called_once() -> None:
    match = matcher(THINKING, NAMED)
    assert match(PONG)
    assert not match(PARIS) and not match(f"{PONG}{PONG}") and not match("Hi.")


def test_without_tools_or_a_form_there_is_nothing_to_hold_to() -> None:
    for tools, choice in (((), AUTO), (TOOLS, NONE)):
        source = answer_grammar(THINKING, tools, choice, many=True, final=None, in_thought=False)
        assert source is None


def test_a_template_without_calls_leaves_text_free_and_cannot_require_one() -> None:
    syntax = MessageSyntax(header="", thought=THOUGHT)
    assert answer_grammar(syntax, TOOLS, AUTO, many=True, final=None, in_thought=False) is None
    with pytest.raises(Unsupported, match="no way to call") as caught:
        answer_grammar(syntax, TOOLS, REQUIRED, many=True, final=None, in_thought=False)
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("syntax", [PLAIN, THINKING])
def test_a_form_holds_for_all_of_the_text(syntax: MessageSyntax) -> None:
    match = matcher(syntax, tools=(), final=NUMBER)
    assert match("12") and match("\n\n12")
    assert not match("") and not match("a 12") and not match("12 a") and not match("1.5")


def test_blanks_before_a_form_come_to_an_end() -> None:
    assert not matcher(PLAIN, tools=(), final=NUMBER)("\n" * 20 + "12")


def test_a_form_holds_behind_the_thought_and_not_in_it() -> None:
    match = matcher(THINKING, tools=(), final=NUMBER)
    assert match('<think>{"a": 1</think>\n\n12')
    assert not match("<think>12") and not match("<think>a</think>b")
    opened = matcher(THINKING, tools=(), final=NUMBER, in_thought=True)
    assert opened("any 3 words</think>12")
    assert not opened("12")


def test_a_form_without_padding_begins_with_the_first_character() -> None:
    exact = FinalText("lines", 'lines: "\\n" "\\n" "a"\n', is_padded=False)
    match = matcher(THINKING, tools=(), final=exact)
    assert match("\n\na") and match("<think>b</think>\n\na") and match("<think>b</think>\n\n\na")
    assert not match("\na") and not match("\n\n\na")


def test_a_form_and_tools_are_the_one_or_the_other() -> None:
    match = matcher(THINKING, final=NUMBER)
    assert match("12") and match(PONG) and match(f"<think>a</think>{PONG}\n{PARIS}")
    assert not match("Hi.") and not match(f"12{PONG}") and not match(f"{PONG}12")


def test_markers_of_content_may_stand_around_a_form() -> None:
    match = matcher(CONTENT, tools=(), final=NUMBER)
    assert match("12") and match("<say>12</say>") and match("<think>a</think><say>12")
    assert matcher(CONTENT, tools=(), final=NUMBER, in_thought=True)("a<say>12</say>")
    assert not match("<say>a</say>") and not match("12</say>")


def test_a_thought_that_was_never_open_may_be_closed() -> None:
    assert matcher(THINKING, REQUIRED)(f"</think>\n\n{PONG}")
    assert matcher(THINKING, tools=(), final=NUMBER)("</think>12")


def test_an_empty_text_may_stand_before_a_required_call() -> None:
    assert matcher(CONTENT, REQUIRED)(f"<say></say>\n{PONG}")
    assert matcher(CONTENT, REQUIRED, in_thought=True)(f"hm<say></say>{PONG}")
    assert not matcher(CONTENT, REQUIRED)(f"<say>Hi.</say>{PONG}")
    assert not matcher(CONTENT, REQUIRED)(f"</say>{PONG}")


def test_the_end_of_a_turn_may_stand_behind_calls() -> None:
    syntax = MessageSyntax(header="", calls=CALLS, ends=("<end>\n",))
    assert matcher(syntax, REQUIRED)(f"{PONG}{PARIS}<end>")
    assert not matcher(syntax, REQUIRED)(f"{PONG}<end>{PONG}")


def test_a_family_with_a_frame_of_its_own_brings_its_grammar() -> None:
    match = matcher(Harmony(), REQUIRED, tools=(WEATHER, PING))
    body = '<|constrain|>json<|message|>{"city": "Paris"}'
    assert match(f"<|channel|>commentary to=functions.get_weather {body}")
    assert not match("<|channel|>final<|message|>Hi.")
