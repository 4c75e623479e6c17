from __future__ import annotations

import json

from call_reading import PING, WEATHER, arguments_of, read_calls

from llmd.chat.format.fallback import HERMES_CALLS, with_tool_paragraph
from llmd.core.message import Message

USER = Message(role="user", content="Hi")


def test_tools_are_described_in_a_system_message_of_their_own() -> None:
    system, user = with_tool_paragraph([USER], [WEATHER, PING])
    assert (system.role, user) == ("system", USER)
    assert system.content is not None
    signatures = system.content.partition("<tools>\n")[2].partition("\n</tools>")[0].split("\n")
    assert [json.loads(line)["name"] for line in signatures] == ["get_weather", "ping"]


def test_a_system_message_keeps_its_text() -> None:
    system, _ = with_tool_paragraph([Message(role="system", content="Be kind."), USER], [PING])
    assert system.content is not None
    assert system.content.startswith("Be kind.\n\nYou can call functions.")


def test_without_tools_nothing_changes() -> None:
    assert with_tool_paragraph([USER], []) == (USER,)


def test_calls_are_read_as_the_paragraph_says() -> None:
    text = '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>'
    assert arguments_of(read_calls(HERMES_CALLS, text)) == [("ping", {})]
