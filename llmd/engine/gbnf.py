"""llama.cpp's GBNF as Lark for llguidance (github.com/ggml-org/llama.cpp grammars/README.md)."""

from __future__ import annotations

import re
from typing import NoReturn

from llmd.errors import InvalidRequest

MAX_CHARACTERS = 1 << 16
"""llguidance knows as many symbols in one grammar."""

MAX_REPEATS = 2000
"""Of one `{m,n}`, as in llama.cpp."""

MAX_DEPTH = 50
"""Groups within groups."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BLANKS = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_BLANKS_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_REPEATS = re.compile(r"\{[ \t]*(\d+)[ \t]*(?:(,)[ \t]*(\d*)[ \t]*)?\}")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]"}


def gbnf_to_lark(text: str) -> str:
    """A Lark grammar of exactly the same texts. Raises InvalidRequest with the line at fault.

    Lexemes are single characters: longer ones would be matched greedily, which GBNF does not.
    """
    return _Translator(text).translate()


class _Translator:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = self._depth = 0
        self._rules: dict[str, str] = {}
        self._used: dict[str, int] = {}  # where each rule is named first

    def translate(self) -> str:
        if len(self._text) > MAX_CHARACTERS:
            self._fail(f"it has more than {MAX_CHARACTERS} characters")
        self._skip(_BLANKS_AND_LINES)
        while self._position < len(self._text):
            self._read_rule()
            self._skip(_BLANKS_AND_LINES)
        if "root" not in self._rules:
            self._fail("there is no rule `root`")
        for name, position in self._used.items():
            if name not in self._rules:
                self._position = position
                self._fail(f"there is no rule `{name}`")
        numbers = {name: number for number, name in enumerate(self._rules)}
        lines = [f"start: rule_{numbers['root']}"]
        for name, body in self._rules.items():
            body = re.sub(r"@([A-Za-z0-9_-]+)", lambda ref: f"rule_{numbers[ref[1]]}", body)
            lines.append(f"rule_{numbers[name]}: {body}")
        return "\n".join(lines)

    def _read_rule(self) -> None:
        start = self._position
        name = self._read_name()
        self._skip(_BLANKS)
        if not self._take("::="):
            self._fail("expected `::=`")
        if name in self._rules:
            self._position = start
            self._fail(f"rule `{name}` is defined twice")
        self._skip(_BLANKS_AND_LINES)
        self._rules[name] = self._read_alternatives(_BLANKS)
        if self._position < len(self._text) and self._peek() not in "\r\n":
            self._fail("cannot read this")

    def _read_alternatives(self, blanks: re.Pattern[str]) -> str:
        alternatives = [self._read_sequence(blanks)]
        while self._take("|"):
            self._skip(_BLANKS_AND_LINES)
            alternatives.append(self._read_sequence(blanks))
        return " | ".join(alternatives)

    def _read_sequence(self, blanks: re.Pattern[str]) -> str:
        parts: list[str] = []
        while (part := self._read_part()) is not None:
            self._skip(blanks)
            while repeats := self._read_repeats():
                part = f"({part}){repeats}"
                self._skip(blanks)
            parts.append(part)
        return " ".join(parts) or '""'

    def _read_part(self) -> str | None:
        if self._take('"'):
            return self._read_literal()
        if self._take("["):
            return self._read_class()
        if self._take("."):
            return "/(?s:.)/"
        if self._take("("):
            return self._read_group()
        if _NAME.match(self._text, self._position):
            position = self._position
            name = self._read_name()
            self._used.setdefault(name, position)
            return f"@{name}"
        return None

    def _read_group(self) -> str:
        if self._depth == MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} groups within groups")
        self._depth += 1
        self._skip(_BLANKS_AND_LINES)
        group = self._read_alternatives(_BLANKS_AND_LINES)
        if not self._take(")"):
            self._fail("expected `)`")
        self._depth -= 1
        return f"({group})"

    def _read_repeats(self) -> str:
        if self._peek() in ("*", "+", "?"):
            return self._next()
        if self._peek() != "{":
            return ""
        found = _REPEATS.match(self._text, self._position)
        if found is None:
            self._fail("expected `{m}`, `{m,}` or `{m,n}`")
        least, comma, most = int(found[1]), found[2], found[3]
        if max(least, int(most or 0)) > MAX_REPEATS:
            self._fail(f"more than {MAX_REPEATS} repetitions")
        if most and int(most) < least:
            self._fail("expected `{m,n}` with n of at least m")
        self._position = found.end()
        return f"{{{least},{most or ''}}}" if comma else f"{{{least}}}"

    def _read_literal(self) -> str:
        characters = []
        while not self._take('"'):
            characters.append(_one_of(_escaped(self._read_character())))
        return " ".join(characters) or '""'

    def _read_class(self) -> str:
        negation = "^" if self._take("^") else ""
        members = ""
        while not self._take("]"):
            first = last = self._read_character()
            if self._peek() == "-" and self._text[self._position + 1 : self._position + 2] != "]":
                self._next()
                last = self._read_character()
            if last < first:
                self._fail("a range ends before it begins")
            members += f"{_escaped(first)}-{_escaped(last)}"
        if not members:
            self._fail("a character class is empty")
        return _one_of(negation + members)

    def _read_character(self) -> str:
        character = self._next()
        if character != "\\":
            return character
        kind = self._next()
        if kind in _ESCAPES:
            return _ESCAPES[kind]
        digits = self._text[self._position : self._position + _HEX.get(kind, 0)]
        if not re.fullmatch(r"[0-9A-Fa-f]+", digits) or len(digits) != _HEX[kind]:
            self._fail("this escape is unknown")
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            self._fail("this is no character of Unicode")
        self._position += len(digits)
        return chr(code)

    def _read_name(self) -> str:
        found = _NAME.match(self._text, self._position)
        if found is None:
            self._fail("expected the name of a rule")
        self._position = found.end()
        return found[0]

    def _skip(self, blanks: re.Pattern[str]) -> None:
        found = blanks.match(self._text, self._position)
        self._position = found.end() if found else self._position

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _take(self, expected: str) -> bool:
        found = self._text.startswith(expected, self._position)
        self._position += len(expected) if found else 0
        return found

    def _next(self) -> str:
        if self._position >= len(self._text):
            self._fail("it ends too early")
        self._position += 1
        return self._text[self._position - 1]

    def _fail(self, reason: str) -> NoReturn:
        line = self._text.count("\n", 0, self._position) + 1
        near = self._text[self._position : self._position + 20].partition("\n")[0]
        where = f"line {line}, before {near!r}" if near else f"line {line}"
        raise InvalidRequest(
            f"the grammar is not GBNF that llmd can enforce: {reason} ({where}). Correct it.",
            param="grammar",
        )


def _escaped(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"


def _one_of(members: str) -> str:
    return f"/[{members}]/"
