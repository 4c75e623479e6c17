from __future__ import annotations

from typing import Any

from llmd.api.openai.response_messages import to_messages
from llmd.api.openai.schema_response_items import Item, read_items
from llmd.core.message import Message, ToolCall

USER: dict[str, Any] = {"role": "user", "content": "hello"}
THOUGHT: dict[str, Any] = {
    "type": "reasoning",
    "content": [{"type": "reasoning_text", "text": "hm"}],
}
TEXT: dict[str, Any] = {"role": "assistant", "content": "hi"}
CALL: dict[str, Any] = {
    "type": "function_call",
    "call_id": "c",
    "name": "f",
    "arguments": '{"a": 1}',
}
RESULT: dict[str, Any] = {"type": "function_call_output", "call_id": "c", "output": "7"}

CORE_CALL = ToolCall(id="c", name="f", arguments={"a": 1})


def items(*given: dict[str, Any]) -> list[Item]:
    return read_items(given, lambda kind: kind)


def messages(*given: dict[str, Any]) -> tuple[Message, ...]:
    return to_messages([items(*given)])


def test_thought_text_and_call_are_one_answer() -> None:
    assert messages(USER, THOUGHT, TEXT, CALL, RESULT) == (
        Message(role="user", content="hello"),
        Message(role="assistant", content="hi", reasoning="hm", tool_calls=(CORE_CALL,)),
        Message(role="tool", content="7", tool_call_id="c"),
    )


def test_a_call_alone_has_no_content() -> None:
    assert messages(CALL) == (Message(role="assistant", content=None, tool_calls=(CORE_CALL,)),)


def test_calls_in_a_row_are_parallel() -> None:
    (message, *_) = messages(CALL, {**CALL, "call_id": "d"}, RESULT)
    assert [call.id for call in message.tool_calls] == ["c", "d"]


def test_texts_in_a_row_are_answers_of_their_own() -> None:
    assert [m.content for m in messages(TEXT, TEXT)] == ["hi", "hi"]


def test_answers_of_two_responses_stay_apart() -> None:
    assert len(to_messages([items(CALL), items(TEXT)])) == 2


def test_a_summary_stands_in_for_a_thought() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}]}
    assert messages(thought, TEXT)[0].reasoning == "short"


def test_a_thought_without_its_text_says_nothing() -> None:
    thought = {"type": "reasoning", "summary": [], "encrypted_content": "x"}
    assert messages(thought) == ()
    assert messages(thought, TEXT) == messages(TEXT)


def test_parts_are_joined_by_line() -> None:
    parts = [{"type": "input_text", "text": "7"}, {"type": "input_text", "text": "8"}]
    assert messages({**RESULT, "output": parts})[0].content == "7\n8"
    assert messages({"role": "user", "content": parts})[0].content == "7\n8"


def test_a_refusal_is_text() -> None:
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert messages(refusal)[0].content == "no"


def test_what_was_answered_gives_the_same_message_whoever_keeps_it() -> None:
    stored = {
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
    }  # fmt: skip
    assert to_messages([[stored]]) == messages(stored) == messages(TEXT)
