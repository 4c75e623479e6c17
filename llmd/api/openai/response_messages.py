"""From the items of a conversation to the messages that a template renders.

The same items give the same messages, whether the client sends them or a stored response holds
them: so a conversation that goes on begins with the tokens that it began with before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llmd.api.openai.schema_chat import parse_arguments
from llmd.api.openai.schema_response_items import Item
from llmd.core.message import Message, ToolCall


def to_messages(turns: Iterable[Sequence[Item]]) -> tuple[Message, ...]:
    """The messages of several lists of items, none of which goes on in the next."""
    messages: list[Message] = []
    for items in turns:
        answer = _Answer()
        for item in items:
            if not answer.takes(item):
                messages += answer.messages()
                answer = _Answer()
            if _is_answer(item):
                answer.add(item)
            else:
                messages.append(_message(item))
        messages += answer.messages()
    return tuple(messages)


class _Answer:
    """What one answer of the model's consists of: its thoughts, text and calls are items of their
    own, and one message together.
    """

    def __init__(self) -> None:
        self._thoughts: list[str] = []
        self._texts: list[str] = []
        self._calls: list[ToolCall] = []
        self._last = ""

    def takes(self, item: Item) -> bool:
        """Whether `item` may be of the same answer: texts in a row are answers of their own."""
        return _is_answer(item) and not (item["type"] == self._last == "message")

    def add(self, item: Item) -> None:
        self._last = item["type"]
        if item["type"] == "reasoning":
            # A summary is all that other servers give out.
            self._thoughts.append(_text(item.get("content") or item.get("summary") or []))
        elif item["type"] == "function_call":
            call = ToolCall(
                id=item["call_id"],
                name=item["name"],
                arguments=parse_arguments(item["arguments"]),
            )
            self._calls.append(call)
        else:
            self._texts.append(_text(item["content"]))

    def messages(self) -> list[Message]:
        thoughts, text = "".join(self._thoughts), "".join(self._texts)
        if not (thoughts or self._texts or self._calls):
            return []
        return [
            Message(
                role="assistant",
                content=text or (None if self._calls else ""),
                reasoning=thoughts or None,
                tool_calls=tuple(self._calls),
            )
        ]


def _is_answer(item: Item) -> bool:
    return item["type"] in {"reasoning", "function_call"} or item.get("role") == "assistant"


def _message(item: Item) -> Message:
    if item["type"] == "function_call_output":
        output = item["output"]
        text = output if isinstance(output, str) else _text(output)
        return Message(role="tool", content=text, tool_call_id=item["call_id"])
    return Message(role=item["role"], content=_text(item["content"]))


def _text(parts: Sequence[dict[str, Any]]) -> str:
    return "\n".join(str(part.get("text", part.get("refusal", ""))) for part in parts)
