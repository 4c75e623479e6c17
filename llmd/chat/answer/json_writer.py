"""JSON text, built while the parts of its value arrive."""

from __future__ import annotations

from llmd.chat.answer.literals import escaped, json_string
from llmd.chat.answer.scan import Emit


class JsonWriter:
    """Writes one JSON value to `emit`, so that `close()` makes it valid at any time. The caller
    writes parts in an order that makes sense: a key before each value in an object.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._brackets: list[str] = []
        self._is_first = True
        self._in_string = False
        self._awaits_value = False

    @property
    def depth(self) -> int:
        """How many brackets are open."""
        return len(self._brackets)

    @property
    def awaits_value(self) -> bool:
        """Whether a key was written, and not its value yet."""
        return self._awaits_value

    @property
    def in_object(self) -> bool:
        """Whether the innermost bracket is an object's."""
        return bool(self._brackets) and self._brackets[-1] == "}"

    def begin_object(self) -> None:
        self._begin("{", "}")

    def begin_array(self) -> None:
        self._begin("[", "]")

    def end(self) -> None:
        """Closes the innermost bracket."""
        self._settle()
        self._emit(self._brackets.pop())
        self._is_first = False

    def key(self, name: str) -> None:
        self._settle()
        self._emit(f"{self._comma()}{json_string(name)}: ")
        self._awaits_value = True

    def value(self, text: str) -> None:
        """A whole value, as JSON text."""
        self._emit(self._before_value() + text)

    def string(self, text: str) -> None:
        """More of a string, which begins where none is open."""
        if not self._in_string:
            self._emit(self._before_value() + '"')
            self._in_string = True
        if text:
            self._emit(escaped(text))

    def end_string(self) -> None:
        self.string("")
        self._emit('"')
        self._in_string = False

    def close(self, depth: int = 0) -> None:
        """Ends what is open, down to `depth` brackets."""
        while len(self._brackets) > depth:
            self.end()
        self._settle()

    def _begin(self, opening: str, closing: str) -> None:
        self._emit(self._before_value() + opening)
        self._brackets.append(closing)
        self._is_first = True

    def _settle(self) -> None:
        if self._in_string:
            self.end_string()
        if self._awaits_value:
            self.value("null")

    def _before_value(self) -> str:
        if self._awaits_value:
            self._awaits_value = False
            return ""
        return self._comma()

    def _comma(self) -> str:
        is_first, self._is_first = self._is_first, False
        return "" if is_first or not self._brackets else ", "
