from __future__ import annotations

from llmd.chat.answer.answer import Answer, AnswerCall, join_pieces
from llmd.chat.answer.piece import CallArguments, CallStarted, Piece, Text, Thought


def test_pieces_join_by_their_kind() -> None:
    pieces: list[Piece] = [
        Thought("I "),
        Thought("think"),
        Text("Let "),
        Text("me"),
        CallStarted("f", "id1"),
        CallArguments('{"a"'),
        CallArguments(": 1}"),
        Text(" and"),
        CallStarted("g", None),
    ]
    assert join_pieces(pieces) == Answer(
        "Let me and", "I think", (AnswerCall("f", "id1", '{"a": 1}'), AnswerCall("g", None, ""))
    )


def test_nothing_is_an_empty_answer() -> None:
    assert join_pieces([]) == Answer("", "", ())
