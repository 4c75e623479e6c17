from __future__ import annotations

from dataclasses import replace

import pytest
from dialects import DIALECTS, FRAMES, HERMES_CALLS, dialect
from templates import GEMMA

from llmd.chat.answer.syntax import MessageSyntax, ThoughtSyntax
from llmd.chat.calls.json_objects import JsonObjects
from llmd.chat.calls.section import Section
from llmd.chat.families.family import Family
from llmd.chat.format.derive import derive_syntax
from llmd.chat.format.self_test import SelfTest, read_back
from llmd.chat.format.sentinels import CallForm, Sentinels
from llmd.chat.prompt.template import ChatTemplate


def check(source: str, **changes: object) -> SelfTest:
    template = ChatTemplate(source, bos_token="", eos_token="")
    form = Sentinels(template).call_form()
    syntax = derive_syntax(template, Family("derived"), form)
    return read_back(template, replace(syntax, **changes), form)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DIALECTS)
def test_a_right_syntax_has_no_faults(name: str) -> None:
    assert check(DIALECTS[name]).faults == ()


def test_a_wrong_thought_is_a_fault_of_the_frame() -> None:
    test = check(FRAMES["written thought"], thought=ThoughtSyntax("<a>", "</a>"))
    assert (test.text_faults, len(test.thought_faults)) == ((), 1)
    assert test.thought_faults[0].startswith("thought and text: content")


def test_wrong_calls_are_faults_of_calls() -> None:
    test = check(DIALECTS["hermes"], calls=JsonObjects(Section("<other>", "</other>")))
    assert (test.text_faults, test.thought_faults) == ((), ())
    assert (len(test.call_faults), test.reads_calls) == (4, False)


def test_a_format_that_reads_some_calls_reads_calls() -> None:
    calls = JsonObjects(Section("<tool_call>\n", "\n</tool_call>"), arguments=("parameters",))
    assert check(DIALECTS["hermes"], calls=calls).reads_calls is False
    assert SelfTest((), (), ("two calls: wrong",), 4).reads_calls is True


def test_what_a_template_does_not_write_is_not_asked_for() -> None:
    template = ChatTemplate(GEMMA, bos_token="", eos_token="")
    syntax = MessageSyntax(header="<end_of_turn>\n<start_of_turn>model\n", ends=("<end_of_turn>",))
    test = read_back(template, syntax, None)
    assert (test.faults, test.num_calls) == ((), 0)


def test_a_template_that_drops_calls_is_not_asked_for_them() -> None:
    source = dialect("")
    template = ChatTemplate(source, bos_token="", eos_token="")
    syntax = derive_syntax(template, Family("derived"), None)
    assert read_back(template, syntax, CallForm()).faults == ()


def test_text_beside_calls_may_be_written_as_a_thought() -> None:
    source = dialect(HERMES_CALLS, thought="<think>THOUGHT</think>").replace(
        "{%- if m.content -%}",
        "{%- if m.content and m.tool_calls -%}{{- '<think>' + m.content + '</think>' -}}"
        "{%- elif m.content -%}",
    )
    assert check(source).faults == ()


def test_faults_are_short() -> None:
    test = check(FRAMES["written thought"], thought=ThoughtSyntax("<a>", "</a>"))
    assert max(map(len, test.faults)) < 300
