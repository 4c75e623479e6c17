"""Reading calls that are written as Python."""

from __future__ import annotations

import re

from llmd.chat.answer.json_writer import JsonWriter
from llmd.chat.answer.literals import json_value
from llmd.chat.answer.scan import Emit, EndOfText, Steps
from llmd.chat.calls.base import ToolSchemas
from llmd.chat.calls.scripted import ScriptedReader

_FUNCTION = re.compile(r"[\w.\-/:]*")
_NAME = re.compile(r"[\w.\-/]*")
_WORD = re.compile(r"""[^\s,()\[\]{}=:'"]*""")
_QUOTES = ('"""', "'''", '"', "'")
_BLANKS = re.compile(r"\s*")
_IDENTIFIER = re.compile(r"[\w.\-/:]+")
_ESCAPE = re.compile(
    r"\\(?:(x[0-9a-fA-F]{2})|(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(u[0-9a-fA-F]{4})|(U00[01][0-9a-fA-F]{5})|((?s:[^xuU])))"
)
_LONGEST_ESCAPE = 12
_ESCAPED = {
    **{"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0"},
    **{character: character for character in "\\'\"/"},
    "\n": "",
}
_FARTHEST_LOOK = 256
_OPENERS = {"(": ")", "[": "]", "{": "}"}


class PythonicReader(ScriptedReader):
    """Reads one list of calls."""

    def __init__(
        self,
        opener: str,
        tools: ToolSchemas,
        *,
        closer: str,
        known_only: bool,
        method: str = "",
    ) -> None:
        self._opener = opener
        self._tools = tools
        self._closer = closer
        self._known_only = known_only
        self._method = method
        self._around = ""
        """What stands around the argument that is read: "," if its name is left out."""
        super().__init__(opener)

    def read(self) -> Steps[None]:
        scan = self.scan
        if self._opener != "[":
            yield from scan.behind_blanks("[")
        while True:
            yield from scan.blanks()
            name = yield from scan.run(_FUNCTION)
            name = name.removesuffix(self._method)
            paren = yield from scan.behind_blanks("(")
            is_known = name in self._tools.names or not self._known_only
            if not name or paren is None or not is_known:
                self.give_up()
                return
            self.call(name)
            yield from self._read_call(name)
            comma = yield from scan.behind_blanks(",")
            if comma is None:
                break
            self.begin()
        yield from scan.behind_blanks("]")
        if self._closer:
            yield from scan.behind_blanks(self._closer)

    def _read_call(self, name: str) -> Steps[None]:
        writer = JsonWriter(self.give_arguments)
        writer.begin_object()
        try:
            is_whole = yield from self._read_arguments(name, writer)
        except EndOfText:
            self.close_arguments(writer)
            raise
        writer.close()
        if not is_whole and self._closer:
            yield from self.scan.until_any(self.give_text, self._closer)

    def _read_arguments(self, name: str, writer: JsonWriter) -> Steps[bool]:
        """Reads to the call's closing parenthesis; whether that came."""
        scan = self.scan
        positions = iter((self._tools.parameters(name) or {}).get("properties") or {})
        num_arguments = 0
        while True:
            yield from scan.blanks()
            yield from scan.some()
            mark = yield from scan.option(")", ",")
            if mark == ")":
                return True
            if mark == ",":
                continue
            self._around = ""
            key = yield from scan.run(_NAME)
            equals = yield from scan.behind_blanks("=")
            if equals is None:
                # An argument without its name, which is that of the parameter in its place.
                scan.put_back(key)
                self._around = ","
                key = next(positions, f"argument_{num_arguments}")
            writer.key(key)
            num_arguments += 1
            is_value = yield from self._read_value(writer, self._tools.value_schema(name, key))
            if not is_value:
                return False

    def _read_value(self, writer: JsonWriter, schema: dict[str, object]) -> Steps[bool]:
        """Reads one value with all that it contains."""
        scan = self.scan
        brackets: list[str] = []
        while True:
            yield from scan.blanks()
            yield from scan.some()
            marks = ("}", "]", ")", ",", ":") if brackets else ()
            mark = yield from scan.option(*marks)
            if mark in (",", ":"):
                continue
            if mark is not None:
                if _OPENERS[brackets.pop()] != mark:
                    return False
                writer.end()
            else:
                is_key = bool(brackets) and brackets[-1] == "{" and not writer.awaits_value
                opening = yield from self._read_part(writer, schema, brackets, is_key)
                if opening is None:
                    return False
                if opening:
                    brackets.append(opening)
            if not brackets:
                return True

    def _read_part(
        self, writer: JsonWriter, schema: dict[str, object], brackets: list[str], is_key: bool
    ) -> Steps[str | None]:
        """Reads a key, a scalar, or the bracket that opens more, which it gives; None where
        nothing of these comes.
        """
        scan = self.scan
        mark = yield from scan.option("{", "[", "(", *_QUOTES)
        if mark in _QUOTES:
            inside = brackets[-1] if brackets else self._around
            if is_key:
                parts: list[str] = []
                yield from self._read_string(mark, ":", parts)
                writer.key("".join(parts))
            else:
                writer.string("")
                yield from self._read_string(mark, inside, writer)
                writer.end_string()
            return ""
        if mark is not None and is_key:
            return None
        if mark == "{":
            writer.begin_object()
        elif mark is not None:
            writer.begin_array()
        if mark is not None:
            return mark
        word = yield from scan.run(_WORD)
        if not word:
            return None
        if is_key:
            writer.key(word)
        else:
            writer.value(json_value(word, {} if brackets else schema))
        return ""

    def _read_string(self, quote: str, inside: str, target: JsonWriter | list[str]) -> Steps[None]:
        emit = target.append if isinstance(target, list) else target.string
        scan = self.scan
        while True:
            yield from scan.until_any(emit, quote[0], "\\")
            if scan.text[0] == "\\":
                yield from self._read_escape(emit)
            else:
                mark = yield from scan.option(quote)
                if mark is None:
                    emit(scan.take(1))
                    continue
                is_end = len(quote) == 3 or (yield from self._may_end(inside))
                if is_end:
                    return
                emit(mark)

    def _read_escape(self, emit: Emit) -> Steps[None]:
        scan = self.scan
        while len(scan.text) < _LONGEST_ESCAPE and not scan.is_over:
            if _is_short_escape(scan.text):
                break
            yield
        found = _ESCAPE.match(scan.text)
        if found is None:
            emit(scan.take(1))
            return
        scan.take(found.end())
        emit(_unescaped(found.group()))

    def _may_end(self, inside: str) -> Steps[bool]:
        """Whether a string may end here: what follows its quote is the next text."""
        scan = self.scan
        while True:
            end = self._closer[:1] or "<"
            verdict = _follows_value(scan.text[:_FARTHEST_LOOK], inside, end)
            if verdict is not None:
                return verdict
            if scan.is_over or len(scan.text) >= _FARTHEST_LOOK:
                return scan.is_over
            yield


def _is_short_escape(text: str) -> bool:
    """Whether the escape that `text` begins with is complete, so that nothing is waited for."""
    if len(text) < 2:
        return False
    kind = text[1]
    if kind in "xU":
        return len(text) >= (4 if kind == "x" else 10)
    if kind != "u":
        return True
    is_surrogate = len(text) >= 4 and text[2] in "dD" and text[3] in "89abAB"
    return len(text) >= 6 and not is_surrogate


def _unescaped(escape: str) -> str:
    kind = escape[1]
    if kind in "xuU" and len(escape) > 2:
        if len(escape) == _LONGEST_ESCAPE:
            pair = bytes.fromhex(escape[2:6] + escape[8:12])
            return pair.decode("utf-16-be", "replace")
        code = int(escape[2:], 16)
        return "\ufffd" if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF else chr(code)
    return _ESCAPED.get(kind, escape)


def _follows_value(text: str, inside: str, end: str) -> bool | None:
    """Whether `text` can stand behind a string in a bracket `inside`; None where it is too short
    to say. "" is a call's argument, "," one without its name, ":" a key. `end` is what follows the
    last call begins with.
    """
    first, behind = _next_mark(text)
    if first is None:
        return None
    if inside == ":":
        return first == ":"
    if inside in _OPENERS:
        closer = _OPENERS[inside]
        if first == closer:
            second, _ = _next_mark(behind)
            return None if second is None else second in ",)]}"
        if first != ",":
            return False
        second, _ = _next_mark(behind)
        starts = "\"'" if inside == "{" else "\"'[{(-0123456789TFNtfn"
        return None if second is None else second in starts + closer
    if first == "," and inside == ",":
        return True
    return _follows_argument(first, behind, end)


def _follows_argument(first: str, behind: str, end: str) -> bool | None:
    second, after = _next_mark(behind)
    if first == ",":
        return _is_name_before(behind, "=", or_end=")")
    if first != ")":
        return False
    if second == ",":
        return _is_name_before(after, "(", or_end="]")
    if second == "]":
        third, _ = _next_mark(after)
        return None if third is None else third == end
    return None if second is None else second == end


def _is_name_before(text: str, mark: str, *, or_end: str) -> bool | None:
    blanks = _BLANKS.match(text)
    assert blanks is not None
    text = text[blanks.end() :]
    if not text:
        return None
    if text[0] == or_end:
        return True
    name = _IDENTIFIER.match(text)
    if name is None:
        return False
    following, _ = _next_mark(text[name.end() :])
    return None if following is None else following == mark


def _next_mark(text: str) -> tuple[str | None, str]:
    """The next character that is no blank, and the text behind it."""
    stripped = text.lstrip()
    return (stripped[0], stripped[1:]) if stripped else (None, "")
