from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmd.cli.conversation_file import read_conversation, read_tools
from llmd.core.message import Message, Tool, ToolCall
from llmd.errors import InvalidRequest

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def write(path: Path, value: Any) -> str:
    (path / "c.json").write_text(json.dumps(value))
    return str(path / "c.json")


def test_a_list_is_a_list_of_messages(tmp_path: Path) -> None:
    found = read_conversation(write(tmp_path, [{"role": "user", "content": "Hi"}]))
    assert found.messages == (Message(role="user", content="Hi"),)
    assert (found.tools, found.template_kwargs) == ((), {})


def test_of_a_request_messages_tools_and_kwargs_count(tmp_path: Path) -> None:
    request = {
        "model": "any",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [TOOL],
        "chat_template_kwargs": {"a": 1},
    }
    found = read_conversation(write(tmp_path, request))
    assert (found.tools, found.template_kwargs) == ((Tool(name="f", definition=TOOL),), {"a": 1})


def test_every_field_of_a_message_is_read(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": ["a", {"type": "text", "text": "b"}], "name": "me"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "1", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"function": {"name": "g", "arguments": {"y": 2}}},
                {"function": {"name": "h", "arguments": "{broken"}},
                {"function": {"name": "i"}},
            ],
        },
        {"role": "tool", "content": "ok", "tool_call_id": "1"},
        {"role": "assistant", "reasoning": "so"},
    ]
    assert read_conversation(write(tmp_path, messages)).messages == (
        Message(role="user", content="a\nb", name="me"),
        Message(
            role="assistant",
            content=None,
            reasoning="hm",
            tool_calls=(
                ToolCall(id="1", name="f", arguments={"x": 1}),
                ToolCall(id=None, name="g", arguments={"y": 2}),
                ToolCall(id=None, name="h", arguments="{broken"),
                ToolCall(id=None, name="i", arguments={}),
            ),
        ),
        Message(role="tool", content="ok", tool_call_id="1"),
        Message(role="assistant", content="", reasoning="so"),
    )


def test_tools_come_as_a_list_or_in_a_request(tmp_path: Path) -> None:
    tools = (Tool(name="f", definition=TOOL),)
    assert read_tools(write(tmp_path, [TOOL])) == tools
    assert read_tools(write(tmp_path, {"tools": [TOOL]})) == tools


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "the file is not a list of messages, or a chat request"),
        ({}, "messages is not a list of messages"),
        ([1], "messages.0 is not an object"),
        ([{"content": "a"}], "messages.0.role is not a text"),
        ([{"role": "user", "content": 1}], "messages.0.content is not a text or a list"),
        ([{"role": "user", "content": [{"type": "image"}]}], "messages.0.content.0 is not a part"),
        ([{"role": "a", "tool_calls": [{}]}], "messages.0.tool_calls.0.function is not an object"),
        (
            [{"role": "a", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}],
            "messages.0.tool_calls.0.function.arguments is not an object",
        ),
        ({"messages": [], "tools": [{}]}, "tools.0.function.name is not a text"),
        ({"messages": [], "tools": 1}, "tools is not a list of tools"),
        ({"messages": [], "chat_template_kwargs": 1}, "chat_template_kwargs is not an object"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(value: Any, words: str, tmp_path: Path) -> None:
    source = write(tmp_path, value)
    with pytest.raises(InvalidRequest) as caught:
        read_conversation(source)
    assert caught.value.message.startswith(f"{source}: {words}")
    assert caught.value.message.endswith(". Make it one.")


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("[1")
    with pytest.raises(InvalidRequest, match=r"c\.json is no JSON: .* Correct it\."):
        read_conversation(str(tmp_path / "c.json"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read .*absent\.json.* Check the path"):
        read_tools(str(tmp_path / "absent.json"))
