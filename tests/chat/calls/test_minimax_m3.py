from __future__ import annotations

from typing import Any

import pytest
from call_reading import INTEGER, STRING, TOOLS, arguments_of, read_calls, tool
from lark_matching import section_matcher

from llmd.chat.calls.minimax_m3 import TOKEN, MiniMaxM3Calls

M3 = MiniMaxM3Calls()


def marked(text: str) -> str:
    """`~` stands for the token in front of each tag."""
    return text.replace("~", TOKEN)


def section(*calls: str) -> str:
    return marked("~<tool_call>\n" + "".join(f"{call}\n" for call in calls) + "~</tool_call>")


PARIS = '~<invoke name="get_weather">~<city>Paris~</city>~<days>3~</days>~</invoke>'
PING = '~<invoke name="ping">~</invoke>'


def read(tools: tuple[Any, ...], body: str) -> Any:
    text = section(f'~<invoke name="f">{body}~</invoke>')
    return arguments_of(read_calls(M3, text, tools))[0][1]


def test_calls_are_read() -> None:
    answer = read_calls(M3, section(PARIS, PING) + "So.")
    assert arguments_of(answer) == [("get_weather", {"city": "Paris", "days": 3}), ("ping", {})]
    assert answer.content == "So."


def test_the_schema_tells_objects_and_arrays() -> None:
    point = {"type": "object", "properties": {"x": INTEGER, "name": STRING}}
    tools = (tool("f", point=point, tags={"type": "array", "items": STRING}),)
    body = "~<point>~<x>1~</x>~<name>2~</name>~</point>~<tags>~<item>3~</item>~</tags>"
    assert read(tools, body) == {"point": {"x": 1, "name": "2"}, "tags": ["3"]}


def test_without_a_schema_the_tags_tell() -> None:
    body = "~<a>~<b>~<item>1~</item>~<item>~</item>~<item>x~</item>~</b>~</a>~<c>true~</c>"
    assert read((), body) == {"a": {"b": [1, None, "x"]}, "c": True}


def test_empty_elements_are_what_the_schema_wants() -> None:
    tools = (tool("f", s=STRING, a={"type": "array"}, o={"type": "object"}),)
    body = "~<s>~</s>~<a>~</a>~<o>~</o>~<n>~</n>"
    assert read(tools, body) == {"s": "", "a": [], "o": {}, "n": None}


def test_strings_are_kept_word_by_word() -> None:
    text = "if a < b:\n  <item> ]<]mini\n"
    body = f'~<invoke name="write_file">~<path>p~</path>~<text>{text}~</text>~</invoke>'
    assert arguments_of(read_calls(M3, section(body)))[0][1] == {"path": "p", "text": text}


def test_a_string_may_hold_elements() -> None:
    assert read((tool("f", a=STRING),), "~<a>~<b>x~</b>~</a>") == {"a": marked("~<b>x~</b>")}


def test_missing_closers_are_forgiven() -> None:
    text = section(PARIS, PARIS).replace(marked("~</invoke>"), "")
    assert len(arguments_of(read_calls(M3, text.removesuffix(marked("~</tool_call>"))))) == 2


@pytest.mark.parametrize("length", range(70, len(section(PARIS, PING)), 9))
def test_an_answer_that_ends_anywhere_has_valid_arguments(length: int) -> None:
    assert len(arguments_of(read_calls(M3, section(PARIS, PING)[:length]))) in (0, 1, 2)


def test_what_a_length_limit_cut_is_not_made_up() -> None:
    text = section(PARIS).partition("ris")[0]
    assert read_calls(M3, text, is_cut=True).calls[0].arguments == '{"city": "Pa'


def test_a_section_without_calls_is_text() -> None:
    text = marked("~<tool_call>no")
    answer = read_calls(M3, text)
    assert (answer.content, answer.calls) == (text, ())


def test_the_grammar_takes_valid_calls_only() -> None:
    match = section_matcher(M3, TOOLS)
    assert match(section(PARIS, PING))
    assert not match(section(PARIS.replace("get_weather", "get_time")))
    assert not match(section(PARIS.replace("~<city>Paris~</city>", "")))
    assert not match(section(PARIS.replace("3", "x")))
    assert not match(section(PARIS.replace("days", "hours")))
    assert not match(section())
    assert not section_matcher(M3, TOOLS, many=False)(section(PARIS, PING))


def test_the_grammar_knows_nested_schemas() -> None:
    point = {"type": "object", "properties": {"x": INTEGER}, "required": ["x"]}
    tools = (tool("f", points={"type": "array", "items": point}, unit={"enum": ["c", "f"]}),)
    match = section_matcher(M3, tools)
    points = "~<points>~<item>~<x>1~</x>~</item>~<item>~<x>2~</x>~</item>~</points>"
    assert match(section(f'~<invoke name="f">{points}~<unit>c~</unit>~</invoke>'))
    assert not match(section(f'~<invoke name="f">{points}~<unit>k~</unit>~</invoke>'))
    broken = points.replace("<x>1", "<x>one")
    assert not match(section(f'~<invoke name="f">{broken}~<unit>c~</unit>~</invoke>'))
