from __future__ import annotations

import pytest
from call_reading import TOOLS, arguments_of, read_calls
from lark_matching import section_matcher

from llmd.chat.calls.json_objects import JsonObjects
from llmd.chat.families.json_arrays import (
    COHERE,
    COMMAND_R_PLUS,
    GIGACHAT_3,
    GRANITE_3,
    NEMOTRON_V2,
    PHI_4_MINI,
)

COHERE_CALL = '{"tool_call_id": "4", "tool_name": "ping", "parameters": {}}'
COMMAND_CALL = '{"tool_name": "ping", "parameters": {}}'
CALL = '{"name": "ping", "arguments": {}}'
FORMATS = [
    pytest.param(COHERE, COHERE_CALL, "<|START_ACTION|>[\n    ", "\n]<|END_ACTION|>", id="cohere"),
    pytest.param(COMMAND_R_PLUS, COMMAND_CALL, "Action:\n```json\n[\n", "]```", id="command-r+"),
    pytest.param(NEMOTRON_V2, CALL, "<TOOLCALL>[", "]</TOOLCALL>", id="nemotron"),
    pytest.param(GRANITE_3, CALL, "<|tool_call|>[", "]", id="granite"),
    pytest.param(PHI_4_MINI, CALL, "<|tool_call|>[", "]<|/tool_call|>", id="phi"),
]


@pytest.mark.parametrize(("syntax", "call", "begin", "end"), FORMATS)
def test_arrays_of_calls_are_read(syntax: JsonObjects, call: str, begin: str, end: str) -> None:
    answer = read_calls(syntax, f"{begin}{call},\n  {call}{end} So.")
    assert arguments_of(answer) == [("ping", {}), ("ping", {})]
    assert answer.content == " So."


@pytest.mark.parametrize(("syntax", "call", "begin", "end"), FORMATS)
def test_the_grammar_takes_valid_calls_only(
    syntax: JsonObjects, call: str, begin: str, end: str
) -> None:
    match = section_matcher(syntax, TOOLS)
    assert match(f"{begin}{call},\n{call}{end}")
    assert not match(f"{begin}{call.replace('ping', 'get_time')}{end}")
    assert not match(f"{begin}{call.replace('{}', '[]')}{end}")
    assert not match(f"{begin}{end}")
    assert not section_matcher(syntax, TOOLS, many=False)(f"{begin}{call}, {call}{end}")


def test_cohere_tells_ids() -> None:
    text = f"<|START_ACTION|>[{COHERE_CALL}]<|END_ACTION|>"
    assert read_calls(COHERE, text).calls[0].id == "4"


def test_gigachat_writes_one_call_behind_a_role() -> None:
    text = f"<|message_sep|>\n\nfunction call<|role_sep|>\n{CALL}"
    assert arguments_of(read_calls(GIGACHAT_3, text)) == [("ping", {})]
    assert section_matcher(GIGACHAT_3, TOOLS)(text)
    assert not section_matcher(GIGACHAT_3, TOOLS)(text.replace("ping", "get_time"))


def test_the_word_action_alone_is_text() -> None:
    text = "Action:\n```json\nnothing"
    answer = read_calls(COMMAND_R_PLUS, text)
    assert (answer.content, answer.calls) == (text, ())
