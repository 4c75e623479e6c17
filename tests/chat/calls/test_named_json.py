from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_calls
from lark_matching import section_matcher

from llmd.chat.calls.json_objects import Slot
from llmd.chat.calls.named_json import NamedJson
from llmd.chat.calls.section import Section

FUNCTION = NamedJson(Section("<function=", "</function>"), ((Slot.NAME, ">"),))
MARKED = NamedJson(Section("[TOOL_CALLS]"), ((Slot.NAME, "[CALL_ID]"), (Slot.ID, "[ARGS]")))
ID_FIRST = NamedJson(
    Section("<|call|>", "<|/call|>", open="<|calls|>", close="<|/calls|>"),
    ((Slot.ID, "<|name|>"), (Slot.NAME, "<|args|>")),
)
FENCED = NamedJson(
    Section("<call>function<sep>", "\n```</call>", "<calls>", "\n", "</calls>"),
    ((Slot.NAME, "\n```json\n"),),
)
BARE = NamedJson(Section("<call>", "</call>"), ((Slot.NAME, "\n"),))
WORDS = NamedJson(Section("Call "), ((Slot.NAME, "\nget: "),))
ID_LAST = NamedJson(
    Section("<call>", "</id></call>"), ((Slot.NAME, "<args>"),), before_id="</args><id>"
)
PARIS_CALL = ("get_weather", {"city": "Paris"})
PING_CALL: tuple[str, dict[str, str]] = ("ping", {})
WRITTEN = {
    FUNCTION: '<function=get_weather>{"city": "Paris"}</function>',
    MARKED: '[TOOL_CALLS]get_weather[CALL_ID]abc[ARGS]{"city": "Paris"}',
    ID_FIRST: (
        '<|calls|><|call|>abc<|name|>get_weather<|args|>{"city": "Paris"}<|/call|>'
        "<|call|>d<|name|>ping<|args|>{}<|/call|><|/calls|>"
    ),
    FENCED: (
        '<calls><call>function<sep>get_weather\n```json\n{"city": "Paris"}\n```</call>\n'
        "<call>function<sep>ping\n```json\n{}\n```</call></calls>"
    ),
    BARE: '<call>get_weather\n{"city": "Paris"}</call>',
    WORDS: 'Call get_weather\nget: {"city": "Paris"}',
    ID_LAST: '<call>get_weather<args>{"city": "Paris"}</args><id>abc</id></call>',
}


@pytest.mark.parametrize("syntax", WRITTEN)
def test_calls_as_they_are_written(syntax: NamedJson) -> None:
    answer = read_calls(syntax, WRITTEN[syntax] + "more")
    assert arguments_of(answer) == [PARIS_CALL, PING_CALL][: len(answer.calls)]
    assert answer.content == "more"


@pytest.mark.parametrize("syntax", WRITTEN)
def test_the_grammar_takes_what_the_reader_reads(syntax: NamedJson) -> None:
    matches = section_matcher(syntax, TOOLS)
    assert matches(WRITTEN[syntax])
    assert not matches(WRITTEN[syntax].replace("get_weather", "got_weather"))
    assert not matches(WRITTEN[syntax].replace('"Paris"', "1"))


def test_ids_before_and_behind_the_name() -> None:
    assert read_calls(MARKED, WRITTEN[MARKED]).calls[0].id == "abc"
    assert [call.id for call in read_calls(ID_FIRST, WRITTEN[ID_FIRST]).calls] == ["abc", "d"]


def test_an_id_that_is_left_out_is_none() -> None:
    answer = read_calls(MARKED, '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}')
    assert (arguments_of(answer), answer.calls[0].id) == ([PARIS_CALL], None)


def test_the_section_may_be_left_out() -> None:
    text = WRITTEN[FENCED].removeprefix("<calls>").removesuffix("</calls>")
    assert arguments_of(read_calls(FENCED, text)) == [PARIS_CALL, PING_CALL]


def test_closers_may_be_left_out() -> None:
    text = WRITTEN[ID_FIRST].replace("<|/call|>", "")
    assert arguments_of(read_calls(ID_FIRST, text)) == [PARIS_CALL, PING_CALL]


def test_blanks_do_not_matter() -> None:
    text = '<function= get_weather >\n {"city": "Paris"} \n</function>'
    assert arguments_of(read_calls(FUNCTION, text)) == [PARIS_CALL]


def test_no_arguments_are_an_empty_object() -> None:
    assert arguments_of(read_calls(FUNCTION, "<function=ping></function>")) == [PING_CALL]


@pytest.mark.parametrize(
    "text",
    ["<function= of x>, as in C", "<function=>{}</function>", "<function=a b>{}</function>"],
)
def test_what_is_no_call_is_text_word_by_word(text: str) -> None:
    answer = read_calls(FUNCTION, text)
    assert (answer.content, answer.calls) == (text, ())


@pytest.mark.parametrize("end", range(len("<function=get_weather>"), len(WRITTEN[FUNCTION])))
def test_arguments_are_valid_wherever_the_answer_ends(end: int) -> None:
    answer = read_calls(FUNCTION, WRITTEN[FUNCTION][:end])
    assert [name for name, _ in arguments_of(answer)] == ["get_weather"]


def test_a_name_that_may_go_on_is_text_at_the_end() -> None:
    assert read_calls(BARE, "<call>get_wea").content == "<call>get_wea"


def test_a_cut_answer_makes_nothing_up() -> None:
    assert read_calls(FUNCTION, "<function=ping>", is_cut=True).calls[0].arguments == ""
