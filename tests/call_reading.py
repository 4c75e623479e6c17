"""Reading answers in every way that matters: whole, character by character and in odd cuts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from llmd.chat.answer.answer import Answer, join_pieces
from llmd.chat.answer.piece import Piece, Text
from llmd.chat.answer.syntax import AnswerSyntax
from llmd.chat.calls.base import CallSyntax, ToolSchemas
from llmd.core.message import Tool


def tool(name: str, required: Sequence[str] | None = None, /, **properties: Any) -> Tool:
    """A tool whose parameters are all required, unless `required` says which are."""
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }
    return Tool(
        name=name,
        definition={"type": "function", "function": {"name": name, "parameters": parameters}},
    )


STRING = {"type": "string"}
INTEGER = {"type": "integer"}
WEATHER = tool("get_weather", ("city",), city=STRING, days=INTEGER)
WRITE = tool("write_file", path=STRING, text=STRING)
PING = tool("ping")
TOOLS = (WEATHER, WRITE, PING)


class _Reader(Protocol):
    def feed(self, text: str) -> list[Piece]: ...
    def flush(self, *, is_cut: bool) -> list[Piece]: ...


def read_calls(
    syntax: CallSyntax, text: str, tools: Sequence[Tool] = TOOLS, *, is_cut: bool = False
) -> Answer:
    """What a section that begins with an opener, and the text behind it, amount to; text that the
    reader leaves to others is content.
    """
    opener = max(filter(text.startswith, syntax.openers), key=len)

    def make() -> _Reader:
        return _WithRest(syntax.reader(opener, ToolSchemas(tools)))

    return _read(make, text[len(opener) :], is_cut=is_cut)


def read_answer(
    syntax: AnswerSyntax,
    text: str,
    tools: Sequence[Tool] = TOOLS,
    *,
    prompt_tail: str = "",
    is_cut: bool = False,
    splits_thoughts: bool = True,
    keeps_prefill: bool = False,
) -> Answer:
    """What a whole answer amounts to."""

    def make() -> _Reader:
        return syntax.reader(
            prompt_tail,
            ToolSchemas(tools),
            splits_thoughts=splits_thoughts,
            keeps_prefill=keeps_prefill,
        )

    return _read(make, text, is_cut=is_cut)


def arguments_of(answer: Answer) -> list[tuple[str, Any]]:
    """The calls' names and arguments, whose JSON text must be valid."""
    return [(call.name, json.loads(call.arguments)) for call in answer.calls]


class _WithRest:
    """Gives the text behind a section as content, as the frame would."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._rest: list[str] = []

    def feed(self, text: str) -> list[Piece]:
        if self._reader.rest is not None:
            self._rest.append(text)
            return []
        pieces: list[Piece] = self._reader.feed(text)
        self._rest.append(self._reader.rest or "")
        return pieces

    def flush(self, *, is_cut: bool) -> list[Piece]:
        if self._reader.rest is not None:
            return [Text("".join(self._rest))]
        pieces: list[Piece] = self._reader.flush(is_cut=is_cut)
        return pieces


def _read(make: Callable[[], _Reader], text: str, *, is_cut: bool) -> Answer:
    answers = []
    for feeds in _cuts(text):
        reader = make()
        pieces = [piece for feed in feeds for piece in reader.feed(feed)]
        answers.append(join_pieces(pieces + reader.flush(is_cut=is_cut)))
    for answer in answers[1:]:
        assert answer == answers[0]
    return answers[0]


def _cuts(text: str) -> Iterator[list[str]]:
    yield [text]
    yield list(text)
    for length in (2, 3, 7, 31):
        yield [text[start : start + length] for start in range(0, len(text), length)]
