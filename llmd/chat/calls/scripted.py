"""A call reader that is written as one generator."""

from __future__ import annotations

from abc import ABC, abstractmethod

from llmd.chat.answer.json_stream import JsonStream
from llmd.chat.answer.json_writer import JsonWriter
from llmd.chat.answer.literals import unquoted_arguments
from llmd.chat.answer.piece import CallArguments, CallStarted, Piece, Text
from llmd.chat.answer.scan import EndOfText, Scan, Steps
from llmd.chat.calls.base import CallReader


class ScriptedReader(ABC):
    """Reads a section of calls by `read`, which returns where the section ends. While `read` has
    begun a call but not given its name, what it took is remembered, and becomes text if the answer
    ends there or `give_up` is called.
    """

    def __init__(self, opener: str) -> None:
        self.scan = Scan()
        self._begun = opener
        self._pieces: list[Piece] = []
        self.scan.remember()
        self.scan.start(self._steps())

    @abstractmethod
    def read(self) -> Steps[None]:
        """Reads what follows the opener."""

    @property
    def rest(self) -> str | None:
        return self.scan.text if self.scan.is_done else None

    def feed(self, text: str) -> list[Piece]:
        self.scan.feed(text)
        return self._given()

    def flush(self, *, is_cut: bool) -> list[Piece]:
        self.scan.finish(is_cut=is_cut)
        self.give_text(self.scan.text)
        self.scan.text = ""
        return self._given()

    def give(self, pieces: list[Piece]) -> None:
        self._pieces += pieces

    def give_text(self, text: str) -> None:
        if text:
            self._pieces.append(Text(text))

    def give_arguments(self, text: str) -> None:
        if text:
            self._pieces.append(CallArguments(text))

    def begin(self) -> None:
        """From here on a further call may begin: what is taken is remembered."""
        self._begun = ""
        self.scan.remember()

    @property
    def is_begun(self) -> bool:
        """No call has come since the opener."""
        return bool(self._begun)

    def call(self, name: str, id: str | None = None) -> None:
        """What was taken since the opener or `begin` is the call of `name`."""
        self._begun = ""
        self.scan.taken()
        self._pieces.append(CallStarted(name, id))

    def give_up(self) -> None:
        """What was taken since the opener or `begin` is no call."""
        self.give_text(self._begun + self.scan.taken())
        self._begun = ""

    def drop(self) -> None:
        """What was taken since the opener or `begin` is neither call nor text."""
        self.scan.taken()
        self._begun = ""

    def json_arguments(self) -> Steps[bool]:
        """Passes the JSON value that comes on as arguments; whether it came to a good end."""
        bracket = yield from self.scan.behind_blanks("{")
        self.scan.put_back(bracket or "")
        stream = JsonStream()
        parts: list[str] = []
        # Models quote the object as a whole sometimes: then it is known when it has ended.
        emit = self.give_arguments if bracket else parts.append
        try:
            yield from self.scan.json(stream, emit)
        except EndOfText:
            if not self.scan.is_cut:
                emit(_closing(stream))
                self.give_arguments(unquoted_arguments("".join(parts)))
            elif bracket:
                emit(stream.held)
            raise
        if stream.is_broken:
            emit(_closing(stream))
        self.give_arguments(unquoted_arguments("".join(parts)))
        return not stream.is_broken

    def through(self, reader: CallReader) -> Steps[bool]:
        """Lets `reader` read on until it is done; whether it found a call."""
        has_call = False
        while reader.rest is None:
            try:
                yield from self.scan.some()
            except EndOfText:
                self.give(reader.flush(is_cut=self.scan.is_cut))
                raise
            pieces = reader.feed(self.scan.take(len(self.scan.text)))
            has_call = has_call or any(isinstance(piece, CallStarted) for piece in pieces)
            self.give(pieces)
        self.scan.put_back(reader.rest)
        return has_call

    def close_arguments(self, writer: JsonWriter) -> None:
        """The text has ended inside the arguments that `writer` writes."""
        if not self.scan.is_cut:
            writer.close()

    def _steps(self) -> Steps[None]:
        try:
            yield from self.read()
        except EndOfText:
            self.give_up()

    def _given(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces


def _closing(stream: JsonStream) -> str:
    return "{}" if stream.is_empty else stream.closing()
