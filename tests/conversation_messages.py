"""The messages of a conversation with a thought and a call, in both rooms' layout tests."""

from __future__ import annotations

from llmd.core.message import Message, Tool, ToolCall

ASK = Message(role="user", content="How late is it?")
ANSWER = Message(role="assistant", content="Noon.", reasoning="The sun is high.")
AGAIN = Message(role="user", content="Ünd jetzt, 時間は? 🕛")
CALL = Message(
    role="assistant",
    content="",
    reasoning="The clock knows.",
    tool_calls=(ToolCall(id="call00001", name="clock", arguments={"zone": "utc"}),),
)
RESULT = Message(role="tool", content="12:00", name="clock", tool_call_id="call00001")
CLOCK = Tool(
    name="clock",
    definition={"type": "function", "function": {"name": "clock", "description": "Ticks."}},
)
