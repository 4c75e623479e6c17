"""A whole answer, put together of its pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from llmd.chat.answer.piece import CallArguments, CallStarted, Piece, Text, Thought


@dataclass(frozen=True, slots=True)
class AnswerCall:
    """A call as the model wrote it. `id` is None where it wrote none; `arguments` is JSON text."""

    name: str
    id: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    content: str
    reasoning: str
    calls: tuple[AnswerCall, ...]


def join_pieces(pieces: Iterable[Piece]) -> Answer:
    """The answer that `pieces`, in their order, amount to."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[tuple[CallStarted, list[str]]] = []
    for piece in pieces:
        match piece:
            case Text(text):
                texts.append(text)
            case Thought(text):
                thoughts.append(text)
            case CallStarted():
                calls.append((piece, []))
            case CallArguments(text):
                calls[-1][1].append(text)
            case _:
                assert_never(piece)
    return Answer(
        "".join(texts),
        "".join(thoughts),
        tuple(AnswerCall(call.name, call.id, "".join(parts)) for call, parts in calls),
    )
