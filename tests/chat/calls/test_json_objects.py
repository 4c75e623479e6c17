from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_calls
from lark_matching import section_matcher

from llmd.chat.calls.json_objects import JsonObjects, Slot
from llmd.chat.calls.section import Section

HERMES = JsonObjects(Section(call_open="<tool_call>\n", call_close="\n</tool_call>"))
ARRAY = JsonObjects(
    Section(open="[TOOL_CALLS][", separator=", ", close="]"),
    id=("id",),
    layout=(
        *('{"name": "', Slot.NAME, '", "arguments": '),
        *(Slot.ARGUMENTS, ', "id": "', Slot.ID, '"}'),
    ),
)
WRAPPED = JsonObjects(
    Section(open="<calls>\n", separator="\n", close="\n</calls>"),
    name=("function", "name"),
    arguments=("function", "arguments"),
    id=("id",),
    layout=(
        *('{"id": "', Slot.ID, '", "function": {"name": "', Slot.NAME),
        *('", "arguments": ', Slot.ARGUMENTS, "}}"),
    ),
)
KEYED = JsonObjects(
    Section(open="<calls>[", separator=", ", close="]</calls>"),
    name=(),
    arguments=(),
    layout=('{"', Slot.NAME, '": ', Slot.ARGUMENTS, "}"),
)
PARIS = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
PING = '{"name": "ping", "arguments": {}}'
PARIS_CALL = ("get_weather", {"city": "Paris"})
PING_CALL: tuple[str, dict[str, str]] = ("ping", {})


def hermes(call: str) -> str:
    return f"<tool_call>\n{call}\n</tool_call>"


def test_a_call_in_tags() -> None:
    answer = read_calls(HERMES, hermes(PARIS) + "\nmore")
    assert arguments_of(answer) == [PARIS_CALL]
    assert answer.content.strip() == "more"


@pytest.mark.parametrize("text", [f"<tool_call>{PING}</tool_call>", f"<tool_call> \n\n {PING}"])
def test_blanks_and_the_closer_do_not_matter(text: str) -> None:
    assert arguments_of(read_calls(HERMES, text)) == [PING_CALL]


def test_arguments_pass_as_they_are_written() -> None:
    arguments = '{"city":"S\\u00e3o",\n "days" : 3.50, "more": [1, {"a": null}]}'
    answer = read_calls(HERMES, hermes(f'{{"name": "get_weather", "arguments": {arguments}}}'))
    assert answer.calls[0].arguments == arguments


def test_keys_may_come_in_any_order_with_others_between() -> None:
    text = '{"arguments": {"city": "Paris"}, "why": {"name": "no"}, "name": "get_weather"}'
    assert arguments_of(read_calls(HERMES, hermes(text))) == [PARIS_CALL]


@pytest.mark.parametrize("arguments", ["", ', "arguments": null', ', "arguments": ""'])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    text = hermes(f'{{"name": "ping"{arguments}}}')
    assert read_calls(HERMES, text).calls[0].arguments == "{}"


def test_arguments_may_be_json_text_in_a_string() -> None:
    text = hermes('{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}')
    assert arguments_of(read_calls(HERMES, text)) == [PARIS_CALL]


def test_an_array_with_ids_behind_the_arguments() -> None:
    calls = [f'{each[:-1]}, "id": "id{number}"}}' for number, each in enumerate((PARIS, PING))]
    answer = read_calls(ARRAY, f"[TOOL_CALLS][{', '.join(calls)}]")
    assert arguments_of(answer) == [PARIS_CALL, PING_CALL]
    assert [call.id for call in answer.calls] == ["id0", "id1"]


def test_a_call_without_the_id_that_its_format_has() -> None:
    answer = read_calls(ARRAY, f"[TOOL_CALLS][{PARIS}]")
    assert (arguments_of(answer), answer.calls[0].id) == ([PARIS_CALL], None)


def test_a_single_call_may_lack_its_array() -> None:
    assert arguments_of(read_calls(ARRAY, f"[TOOL_CALLS]{PARIS}")) == [PARIS_CALL]


def test_a_call_in_tags_may_be_an_array() -> None:
    answer = read_calls(HERMES, hermes(f"[{PARIS}, {PING}]"))
    assert arguments_of(answer) == [PARIS_CALL, PING_CALL]


def test_objects_line_by_line_and_wrapped() -> None:
    lines = [f'{{"id": "i{n}", "function": {each}}}' for n, each in enumerate((PARIS, PING))]
    answer = read_calls(WRAPPED, f"<calls>\n{lines[0]}\n{lines[1]}\n</calls>more")
    assert arguments_of(answer) == [PARIS_CALL, PING_CALL]
    assert [call.id for call in answer.calls] == ["i0", "i1"]
    assert answer.content == "more"


def test_the_name_may_be_the_key() -> None:
    text = '<calls>[{"get_weather": {"city": "Paris"}}, {"ping": {}}]</calls>'
    assert arguments_of(read_calls(KEYED, text)) == [PARIS_CALL, PING_CALL]


def test_one_object_may_hold_several_names() -> None:
    text = '<calls>[{"get_weather": {"city": "Paris"}, "ping": {}}]</calls>'
    assert arguments_of(read_calls(KEYED, text)) == [PARIS_CALL, PING_CALL]


@pytest.mark.parametrize(
    "text",
    ["<tool_call> is a tag", "<tool_call>[1, 2]</tool_call>", '<tool_call>{"a": 1}</tool_call>'],
)
def test_what_is_no_call_is_text_word_by_word(text: str) -> None:
    answer = read_calls(HERMES, text)
    assert (answer.content, answer.calls) == (text, ())


def test_values_that_nobody_asked_for_may_be_of_any_depth() -> None:
    deep = "[" * 5000 + "]" * 5000
    answer = read_calls(HERMES, hermes(f'{{"x": {deep}, "name": "ping", "arguments": {{}}}}'))
    assert arguments_of(answer) == [PING_CALL]


@pytest.mark.parametrize(
    ("id", "expected"), [('"7"', "7"), ("7", "7"), ("null", None), ("{}", None)]
)
def test_ids_are_strings_or_numbers(id: str, expected: str | None) -> None:
    answer = read_calls(ARRAY, f'[TOOL_CALLS][{PING[:-1]}, "id": {id}}}]')
    assert (arguments_of(answer), answer.calls[0].id) == ([PING_CALL], expected)


def test_a_missing_bracket_is_forgiven() -> None:
    answer = read_calls(HERMES, hermes(PARIS[:-1]) + "more")
    assert (arguments_of(answer), answer.content) == ([PARIS_CALL], "more")


def test_broken_arguments_are_closed_and_the_rest_is_text() -> None:
    answer = read_calls(HERMES, hermes('{"name": "ping", "arguments": {"a": 1 2}}'))
    assert arguments_of(answer) == [("ping", {"a": 1})]
    assert answer.content.startswith("2}}")


@pytest.mark.parametrize("end", range(len('{"name": "get_weather"'), len(PARIS)))
def test_arguments_are_valid_wherever_the_answer_ends(end: int) -> None:
    answer = read_calls(HERMES, f"<tool_call>\n{PARIS[:end]}")
    assert [name for name, _ in arguments_of(answer)] == ["get_weather"]


def test_a_cut_answer_keeps_what_was_written() -> None:
    answer = read_calls(HERMES, f"<tool_call>\n{PARIS[:-5]}", is_cut=True)
    assert answer.calls[0].arguments == '{"city": "Par'


def test_a_name_that_is_not_whole_is_text() -> None:
    text = '<tool_call>\n{"name": "get_wea'
    answer = read_calls(HERMES, text)
    assert (answer.content, answer.calls) == (text, ())


MANY = {
    HERMES: hermes(PARIS),
    ARRAY: f'[TOOL_CALLS][{PARIS[:-1]}, "id": "abc123XYZ"}}, {PING[:-1]}, "id": "x"}}]',
    WRAPPED: f'<calls>\n{{"id": "a", "function": {PARIS}}}\n{{"id": "b", "function": {PING}}}\n'
    "</calls>",
    KEYED: '<calls>[{"get_weather": {"city": "Paris"}}, {"ping": {}}]</calls>',
}


@pytest.mark.parametrize("syntax", MANY)
def test_the_grammar_takes_what_the_reader_reads(syntax: JsonObjects) -> None:
    assert section_matcher(syntax, TOOLS)(MANY[syntax])


@pytest.mark.parametrize(
    "call",
    [
        '{"name": "other", "arguments": {}}',
        '{"name": "get_weather", "arguments": {}}',
        '{"name": "get_weather", "arguments": {"city": 3}}',
        '{"name": "ping", "arguments": {"x": 1}}',
        '{"name": "ping"}',
    ],
)
def test_the_grammar_refuses_invalid_calls(call: str) -> None:
    matches = section_matcher(HERMES, TOOLS)
    assert not matches(hermes(call))


def test_the_grammar_of_one_call_refuses_two() -> None:
    assert not section_matcher(KEYED, TOOLS, many=False)(MANY[KEYED])
    assert section_matcher(KEYED, TOOLS, many=False)('<calls>[{"ping": {}}]</calls>')
