"""Answers as the OpenAI API writes them, without the ids that a server makes up."""

from __future__ import annotations

import json
from typing import Any, assert_never

import click

from llmd.chat.answer.answer import Answer
from llmd.chat.answer.piece import CallArguments, CallStarted, Piece, Text, Thought


class DeltaEncoder:
    """Pieces, in their order, to the deltas of a stream."""

    def __init__(self) -> None:
        self._num_calls = 0

    def encode(self, piece: Piece) -> dict[str, Any]:
        match piece:
            case Text(text):
                return {"content": text}
            case Thought(text):
                return {"reasoning_content": text}
            case CallStarted(name, call_id):
                self._num_calls += 1
                call = {} if call_id is None else {"id": call_id}
                return self._call(
                    call | {"type": "function", "function": {"name": name, "arguments": ""}}
                )
            case CallArguments(text):
                return self._call({"function": {"arguments": text}})
            case _:
                assert_never(piece)

    def _call(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"tool_calls": [{"index": self._num_calls - 1, **fields}]}


def encode_message(answer: Answer) -> dict[str, Any]:
    """The whole message. Beside calls, no text is null."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["content"] = answer.content or None
        message["tool_calls"] = [
            ({} if call.id is None else {"id": call.id})
            | {
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.calls
        ]
    return message


def print_json(value: Any) -> None:
    """One line of JSON. Halves of surrogate pairs, which are no UTF-8, stay escaped."""
    click.echo(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))
