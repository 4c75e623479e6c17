from __future__ import annotations

import pytest
from call_reading import TOOLS
from dialects import (
    DIALECTS,
    FRAMES,
    HERMES_CALLS,
    JSON_OBJECTS,
    NAMED_JSON,
    PYTHONIC,
    RELUCTANT,
    TAGGED,
    dialect,
)
from lark_matching import section_matcher
from templates import CHATML, GEMMA, MISTRAL

from llmd.chat.answer.syntax import MessageSyntax, ThoughtSyntax
from llmd.chat.calls.json_objects import JsonObjects, Slot
from llmd.chat.calls.named_json import NamedJson
from llmd.chat.calls.pythonic import PythonicCalls
from llmd.chat.calls.tagged import Tagged
from llmd.chat.families.family import Family
from llmd.chat.format.derive import derive_syntax
from llmd.chat.format.self_test import read_back
from llmd.chat.format.sentinels import Sentinels
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, ToolCall

KINDS = {
    JsonObjects: [*JSON_OBJECTS, *FRAMES],
    NamedJson: NAMED_JSON,
    Tagged: TAGGED,
    PythonicCalls: PYTHONIC,
}


def open_template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


def derive(source: str, family: Family | None = None) -> MessageSyntax:
    template = open_template(source)
    form = Sentinels(template).call_form()
    return derive_syntax(template, family or Family("derived"), form)


@pytest.mark.parametrize("name", DIALECTS)
def test_what_a_template_writes_is_read_back(name: str) -> None:
    template = open_template(DIALECTS[name])
    form = Sentinels(template).call_form()
    syntax = derive_syntax(template, Family("derived"), form)
    test = read_back(template, syntax, form)
    assert test.faults == ()
    assert test.num_calls or name == "answer always in a thought"


@pytest.mark.parametrize(
    ("kind", "name"), [(k, name) for k, names in KINDS.items() for name in names]
)
def test_the_shape_of_calls_is_recognised(kind: type, name: str) -> None:
    assert isinstance(derive(DIALECTS[name]).calls, kind)


@pytest.mark.parametrize("name", [name for name in DIALECTS if name not in RELUCTANT])
def test_the_grammar_takes_what_the_template_writes(name: str) -> None:
    calls = (
        ToolCall(id="abc123XYZ", name="get_weather", arguments={"city": "Paris", "days": 3}),
        ToolCall(id="abc123XY2", name="ping", arguments={}),
    )
    messages = [
        Message(role="user", content="Hi"),
        Message(role="assistant", content="", tool_calls=calls),
    ]
    template = open_template(DIALECTS[name])
    syntax = derive(DIALECTS[name])
    assert syntax.calls is not None
    text = template.render(messages, TOOLS, None, False).text.partition(syntax.header)[2]
    start = min(text.index(each) for each in syntax.calls.openers if each in text)
    text = text[start:]
    for end in syntax.ends:
        text = text.partition(end)[0]
    first = syntax.calls.openers[0]
    assert text.startswith(first)
    assert all(map(section_matcher(syntax.calls, TOOLS), _sections(text, syntax)))


def _sections(text: str, syntax: MessageSyntax) -> list[str]:
    calls = syntax.calls
    if isinstance(calls, PythonicCalls):
        is_one = calls.is_list
    else:
        assert isinstance(calls, JsonObjects | NamedJson | Tagged)
        is_one = bool(calls.section.open)
    if is_one:
        return [text.rstrip()]
    first = calls.openers[0]
    return [f"{first}{part}".rstrip() for part in text.split(first) if part.strip()]


def test_the_header_is_what_all_answers_share() -> None:
    assert derive(CHATML).header == "<|im_end|>\n<|im_start|>assistant\n"
    assert derive(MISTRAL).header == " [/INST]"
    assert derive(GEMMA).header == "<end_of_turn>\n<start_of_turn>model\n"


def test_behind_tool_results_another_header_may_stand() -> None:
    syntax = derive(MISTRAL)
    assert syntax.other_headers == ("[/TOOL_RESULTS]",)
    assert syntax.prompt_tail("[INST] a [/INST]b[TOOL_RESULTS]c[/TOOL_RESULTS]d") == "d"


THINK = ThoughtSyntax("<think>", "</think>")


@pytest.mark.parametrize(
    ("name", "thought"),
    [
        ("written thought", ("<think>", "</think>", "<think>\n", "\n</think>\n\n")),
        ("opened thought", ("<think>", "</think>", "<think>\n", "\n</think>\n\n")),
        ("thought beside calls only", ("<|START|>", "<|END|>", "<|START|>", "<|END|>")),
        ("thought opened and never written", ("<think>", "</think>", "<think>", "</think>")),
        (
            "thought in a message of its own",
            ("<|think|>", "<|end|>", "<|think|>", "<|end|><|begin|>bot"),
        ),
        ("thought opened without a closer", ("<think>", "</think>", "<think>\n", "")),
        ("thought only shut", ("<|START_THINK|>", "<|END_THINK|>", "", "")),
        ("thought only mentioned", ("[THINK]", "[/THINK]", "", "")),
        ("bare closer", ("<think>", "</think>", "<think>", "</think>")),
        ("answer always in a thought", ("<think>", "</think>", "<think>\n", "")),
    ],
)
def test_markers_of_thoughts(name: str, thought: tuple[str, str, str, str]) -> None:
    assert derive(FRAMES[name]).thought == ThoughtSyntax(*thought)


def test_a_template_without_thoughts_has_none() -> None:
    assert derive(dialect(HERMES_CALLS)).thought is None


def test_a_thought_that_all_answers_begin_with_is_no_part_of_the_header() -> None:
    assert derive(FRAMES["answer always in a thought"]).header.endswith("assistant\n")


def test_markers_around_the_content() -> None:
    syntax = derive(FRAMES["answer in tags"])
    assert (syntax.content, syntax.ends) == (("<answer>", "</answer>"), ("<|im_end|>",))


def test_what_stands_between_a_text_and_calls_is_noise() -> None:
    assert derive(FRAMES["calls are a message of their own"]).noise == ("<|eom|><|bot|>",)


def test_the_marker_behind_an_answer_ends_the_turn() -> None:
    assert derive(CHATML).ends == ("<|im_end|>",)
    template = open_template(CHATML)
    assert derive_syntax(template, Family("derived"), None, end_texts=("<|eot|>",)).ends == (
        "<|im_end|>",
        "<|eot|>",
    )


def test_calls_of_an_array_share_their_markers() -> None:
    calls = derive(JSON_OBJECTS["array"]).calls
    assert isinstance(calls, JsonObjects)
    section = calls.section
    assert (section.open, section.separator, section.close) == (
        "<tool_calls>[",
        ", ",
        "]</tool_calls>",
    )
    assert (section.call_open, section.call_close) == ("", "")


def test_calls_in_tags_have_their_own_markers() -> None:
    calls = derive(JSON_OBJECTS["hermes"]).calls
    assert isinstance(calls, JsonObjects)
    section = calls.section
    assert (section.call_open, section.call_close) == ("<tool_call>\n", "\n</tool_call>")
    assert (section.open, section.close) == ("", "")


def test_sections_and_calls_may_both_have_markers() -> None:
    calls = derive(NAMED_JSON["fenced arguments"]).calls
    assert isinstance(calls, NamedJson)
    section = calls.section
    assert (section.open, section.close) == ("<|calls_begin|>", "<|calls_end|>")
    assert section.call_open == "<|call_begin|>function<|sep|>"
    assert section.call_close == "\n```<|call_end|>"


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("hermes", (("name",), ("arguments",), None)),
        ("array with ids at the end", (("name",), ("arguments",), ("id",))),
        ("wrapped objects", (("function", "name"), ("function", "arguments"), ("id",))),
        ("name is the key", ((), (), None)),
    ],
)
def test_keys_of_calls_in_objects(name: str, paths: tuple[object, ...]) -> None:
    calls = derive(JSON_OBJECTS[name]).calls
    assert isinstance(calls, JsonObjects)
    assert (calls.name, calls.arguments, calls.id) == paths


def test_arguments_may_be_text_within_json() -> None:
    calls = derive(JSON_OBJECTS["arguments as text"]).calls
    assert isinstance(calls, JsonObjects)
    assert Slot.ARGUMENTS_TEXT in calls.layout


def test_ids_stand_where_the_template_writes_them() -> None:
    behind = derive(NAMED_JSON["id behind the name"]).calls
    before = derive(NAMED_JSON["id before the name"]).calls
    assert isinstance(behind, NamedJson) and isinstance(before, NamedJson)
    assert [slot for slot, _ in behind.words] == [Slot.NAME, Slot.ID]
    assert [slot for slot, _ in before.words] == [Slot.ID, Slot.NAME]


def test_the_kind_of_a_value_may_stand_beside_its_key() -> None:
    calls = derive(TAGGED["attributes with kinds"]).calls
    assert isinstance(calls, Tagged)
    assert (calls.key_close, calls.string_kind, calls.kind_close) == ('" type="', "string", '">')


def test_the_key_may_close_its_value() -> None:
    calls = derive(TAGGED["key as tag"]).calls
    assert isinstance(calls, Tagged)
    assert calls.value_close == "</{key}>"


def test_values_in_tags_may_be_json() -> None:
    calls = derive(TAGGED["json values"]).calls
    assert isinstance(calls, Tagged)
    assert calls.values_are_json


def test_only_calls_in_tags_end_thoughts() -> None:
    assert derive(TAGGED["parameter tags"]).calls.ends_thoughts  # type: ignore[union-attr]
    assert not derive(JSON_OBJECTS["hermes"]).calls.ends_thoughts  # type: ignore[union-attr]


def test_calls_without_any_marker_are_not_derived() -> None:
    assert (
        derive(
            dialect("{%- for c in m.tool_calls or [] -%}{{- c.function | tojson -}}{%- endfor -%}")
        ).calls
        is None
    )


def test_what_a_family_knows_is_taken_as_it_is() -> None:
    thought = ThoughtSyntax("<a>", "</a>")
    syntax = derive(
        DIALECTS["hermes"], Family("mine", thought=thought, content=("<b>", "</b>"), ends=("<c>",))
    )
    assert (syntax.thought, syntax.content) == (thought, ("<b>", "</b>"))
    assert "<c>" in syntax.ends
    assert syntax.calls is not None


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].content }}",
        "{{ messages[-1].content }}",
        "nothing",
        "{{ raise_exception('no') }}",
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{{ messages | tojson }}",
    ],
)
def test_odd_templates_derive_to_little(source: str) -> None:
    syntax = derive(source)
    assert (syntax.thought, syntax.calls) == (None, None)
