from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from call_reading import INTEGER, STRING, TOOLS, arguments_of, read_calls, tool
from lark_matching import section_matcher

from llmd.chat.calls.section import Section
from llmd.chat.calls.tagged import Tagged

LINES = Tagged(
    Section("<tool_call>\n<function=", "\n</function>\n</tool_call>"),
    name_close=">",
    key_open="\n<parameter=",
    key_close=">\n",
    value_close="\n</parameter>",
)
PAIRS = Tagged(
    Section("<tool_call>", "\n</tool_call>"),
    name_close="",
    key_open="\n<arg_key>",
    key_close="</arg_key>\n<arg_value>",
    value_close="</arg_value>",
)
KINDS = Tagged(
    Section('\n<invoke name="', "\n</invoke>", open="<calls>", close="\n</calls>"),
    name_close='">',
    key_open='\n<parameter name="',
    key_close='" type="',
    value_close="</parameter>",
    kind_close='">',
    string_kind="string",
)
KEYED = Tagged(
    Section("<call>\n<name>", "\n</arguments>\n</call>"),
    name_close="</name>\n<arguments>",
    key_open="\n<",
    key_close=">",
    value_close="</{key}>",
)
CDATA = Tagged(
    Section('<function name="', "</function>"),
    name_close='">',
    key_open='<param name="',
    key_close='">',
    value_close="</param>",
    has_cdata=True,
)
JSON = replace(PAIRS, values_are_json=True)
SYNTAXES = {"lines": LINES, "pairs": PAIRS, "kinds": KINDS, "keyed": KEYED, "cdata": CDATA}
TYPED = tool(
    "typed",
    text=STRING,
    count=INTEGER,
    on={"type": "boolean"},
    any={},
    options={"type": "object"},
    maybe={"type": ["string", "null"]},
)


def call(syntax: Tagged, name: str, *arguments: tuple[str, str], kind: str = "string") -> str:
    section = syntax.section
    texts = [
        syntax.key_open
        + key
        + (syntax.key_close + (kind + syntax.kind_close if syntax.kind_close else ""))
        + value
        + syntax.value_close.replace("{key}", key)
        for key, value in arguments
    ]
    written = section.open + section.call_open + name + syntax.name_close + "".join(texts)
    return (written + section.call_close + section.close).lstrip()


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_calls_as_they_are_written(syntax: Tagged) -> None:
    text = call(syntax, "write_file", ("path", "a/b.py"), ("text", ' def f():\n  return "<b>"\n'))
    answer = read_calls(syntax, f"{text}more")
    expected = {"path": "a/b.py", "text": ' def f():\n  return "<b>"\n'}
    assert arguments_of(answer) == [("write_file", expected)]
    assert answer.content == "more"


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_calls_without_arguments(syntax: Tagged) -> None:
    assert arguments_of(read_calls(syntax, call(syntax, "ping"))) == [("ping", {})]


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
def test_the_grammar_takes_what_the_reader_reads(syntax: Tagged) -> None:
    matches = section_matcher(syntax, TOOLS)
    assert matches(call(syntax, "write_file", ("path", "a"), ("text", "b\n<c>")))
    assert matches(call(syntax, "ping"))
    assert not matches(call(syntax, "write_file", ("path", "a")))
    assert not matches(call(syntax, "ping", ("path", "a")))
    assert not matches(call(syntax, "other"))


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("text", "12", "12"),
        ("text", '"quoted"', '"quoted"'),
        ("count", "12", 12),
        ("count", "many", "many"),
        ("on", "True", True),
        ("any", "[1, 2]", [1, 2]),
        ("any", "2 dollars", "2 dollars"),
        ("options", "{'a': None}", {"a": None}),
        ("maybe", "null", None),
        ("maybe", "nothing", "nothing"),
        ("unknown", "1", 1),
    ],
)
def test_values_become_what_their_schema_says(key: str, text: str, value: Any) -> None:
    answer = read_calls(PAIRS, call(PAIRS, "typed", (key, text)), [TYPED])
    assert arguments_of(answer) == [("typed", {key: value})]


@pytest.mark.parametrize(("kind", "value"), [("string", "12"), ("number", 12), ("other", 12)])
def test_a_kind_says_whether_a_value_is_text(kind: str, value: Any) -> None:
    answer = read_calls(KINDS, call(KINDS, "typed", ("any", "12"), kind=kind), [TYPED])
    assert arguments_of(answer) == [("typed", {"any": value})]


def test_values_may_be_json() -> None:
    answer = read_calls(JSON, call(JSON, "typed", ("text", '"a\\nb"'), ("count", "1")), [TYPED])
    assert arguments_of(answer) == [("typed", {"text": "a\nb", "count": 1})]


def test_cdata_hides_closers() -> None:
    value = "<![CDATA[a </param><b> ]]]]>"
    answer = read_calls(CDATA, call(CDATA, "write_file", ("text", value), ("path", "x")))
    assert arguments_of(answer) == [("write_file", {"text": "a </param><b> ]]", "path": "x"})]


def test_cdata_is_text_where_the_template_knows_none() -> None:
    answer = read_calls(PAIRS, call(PAIRS, "write_file", ("text", "<![CDATA[a]]>")))
    assert arguments_of(answer) == [("write_file", {"text": "<![CDATA[a]]>"})]


def test_only_the_line_breaks_that_the_template_writes_are_taken_off() -> None:
    answer = read_calls(LINES, call(LINES, "write_file", ("text", "\n a \n\n"), ("path", "")))
    assert arguments_of(answer) == [("write_file", {"text": "\n a \n\n", "path": ""})]


def test_values_without_their_line_breaks() -> None:
    text = call(LINES, "write_file", ("text", "a")).replace("\n", "")
    assert arguments_of(read_calls(LINES, text)) == [("write_file", {"text": "a"})]


def test_a_closer_within_a_value_does_not_end_it() -> None:
    value = "a </parameter> b\n</parameter>\nc"
    answer = read_calls(LINES, call(LINES, "write_file", ("text", value), ("path", "x")))
    assert arguments_of(answer) == [("write_file", {"text": value, "path": "x"})]


@pytest.mark.parametrize(
    "missing", ["\n</function>", "\n</tool_call>", "\n</function>\n</tool_call>"]
)
def test_closers_of_the_call_may_be_missing(missing: str) -> None:
    text = call(LINES, "write_file", ("path", "x")).replace(missing, "")
    assert arguments_of(read_calls(LINES, text)) == [("write_file", {"path": "x"})]


def test_the_first_opener_may_be_missing() -> None:
    text = call(LINES, "write_file", ("path", "x")).removeprefix("<tool_call>\n")
    assert arguments_of(read_calls(LINES, text)) == [("write_file", {"path": "x"})]


def test_several_calls_of_a_section() -> None:
    both = call(KINDS, "ping").removesuffix("\n</calls>") + call(
        KINDS, "write_file", ("path", "x")
    ).removeprefix("<calls>")
    assert arguments_of(read_calls(KINDS, both)) == [("ping", {}), ("write_file", {"path": "x"})]
    assert section_matcher(KINDS, TOOLS)(both.replace('name="path"', 'name="path"')) is False


@pytest.mark.parametrize("text", ["<tool_call> is a tag", "<tool_call>\n<function=>", "<function="])
def test_what_is_no_call_is_text_word_by_word(text: str) -> None:
    answer = read_calls(LINES, text)
    assert (answer.content, answer.calls) == (text, ())


WRITTEN = call(LINES, "write_file", ("path", "a"), ("text", "b"))


@pytest.mark.parametrize("end", range(WRITTEN.index(">\n<p") + 1, len(WRITTEN)))
def test_arguments_are_valid_wherever_the_answer_ends(end: int) -> None:
    answer = read_calls(LINES, WRITTEN[:end])
    assert [name for name, _ in arguments_of(answer)] == ["write_file"]


def test_a_cut_answer_closes_nothing() -> None:
    text = WRITTEN.partition("a\n</par")[0]
    assert read_calls(LINES, f"{text}abc", is_cut=True).calls[0].arguments == '{"path": "abc'


def test_the_grammar_knows_objects_of_several_forms() -> None:
    forms = [
        {"type": "object", "properties": {key: STRING}, "required": [key]} for key in ("a", "b")
    ]
    either = tool("either")
    either.definition["function"]["parameters"] = {"anyOf": forms}
    matches = section_matcher(PAIRS, [either])
    assert matches(call(PAIRS, "either", ("a", "x")))
    assert matches(call(PAIRS, "either", ("b", "x")))
    assert not matches(call(PAIRS, "either", ("a", "x"), ("b", "x")))


def test_the_grammar_lets_undeclared_arguments_be_anything() -> None:
    free = tool("free")
    free.definition["function"]["parameters"] = {"type": "object"}
    assert section_matcher(PAIRS, [free])(call(PAIRS, "free", ("a", "x\n"), ("b", "1")))
