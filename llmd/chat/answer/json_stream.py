"""One JSON value, passed through as it comes."""

from __future__ import annotations

import json
import re
from enum import Enum, auto

_PLAIN = re.compile(r"""[^"'\\\x00-\x1f]*""")
STRING_STOPS = re.compile(r"""["'\\\x00-\x1f]""")
_BLANKS = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"[-+.\w]+")
_NEXT_ITEM = re.compile(r",[ \t\r\n]{0,63}([-+.\w]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NUMBER_BEGUN = re.compile(
    r"-|-?(?:0|[1-9][0-9]*)(?:\.|(?:\.[0-9]+)?[eE][-+]?)?",
)
_ESCAPE = re.compile(
    r'\\(?:["\\/bfnrt]'
    r"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})"
)
_ESCAPE_BEGUN = re.compile(
    r"\\(?:u[0-9a-fA-F]{0,3}"
    r"|u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?)?\Z"
)
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_MOST_BLANKS = 64
_WORDS = {
    **{word: word for word in ("true", "false", "null")},
    **{"True": "true", "False": "false", "None": "null"},
}
_BRACKETS = {"{": "}", "[": "]", "(": ")"}
_CONTROLS = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class _Expected(Enum):
    VALUE = auto()
    VALUE_OR_END = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


class JsonStream:
    """Takes a text piece by piece and passes on the one JSON value that it begins with, so that
    what was passed on plus `closing()` is valid JSON at any time. It mends what models get wrong
    without doubt: raw control characters and bad escapes in strings, single quotes, `True`,
    `False`, `None`, tuples, a comma before a closing bracket, and, with `takes_words`, other bare
    words as strings. Time is linear, nothing raises.
    """

    def __init__(self, *, takes_words: bool = True) -> None:
        self.is_broken = False
        """The text cannot be JSON from here on."""
        self._takes_words = takes_words
        self._expected = _Expected.VALUE
        self._brackets: list[str] = []
        self._quote = ""
        self._string_is_key = False
        self._num_passed = 0
        self._comma = ""
        self._begun = ""
        self._scalar: list[str] = []

    @property
    def is_complete(self) -> bool:
        """The value has ended. A number on its own never ends before other text follows it."""
        return self._expected is _Expected.NOTHING

    @property
    def in_string(self) -> bool:
        """The text goes on inside a string: without any of STRING_STOPS it passes as it is."""
        return bool(self._quote) and not self._begun

    @property
    def is_empty(self) -> bool:
        """Nothing of a value has come yet, blanks apart."""
        return not (self._num_passed or self._scalar)

    @property
    def depth(self) -> int:
        """How many brackets are open."""
        return len(self._brackets)

    @property
    def held(self) -> str:
        """What came but was not passed on yet, as more text must decide about it."""
        return "".join((self._comma, *self._scalar, self._begun))

    def feed(self, text: str) -> tuple[str, str | None]:
        """What to pass on, and what lies behind the value: None while it goes on. A broken text
        is given back from the first character that cannot be JSON.
        """
        passed: list[str] = []
        if self._begun:
            text = self._begun + text
            self._begun = ""
        position = 0
        length, end = len(text), _Expected.NOTHING
        while position < length and self._expected is not end and not self.is_broken:
            if self._quote:
                position = self._read_string(text, position, passed)
            elif self._scalar:
                position = self._read_scalar(text, position, passed)
            else:
                position = self._read_structure(text, position, passed)
        accepted = "".join(passed)
        self._num_passed += len(accepted)
        if self.is_broken:
            rest = "".join((*self._scalar, text[position:]))
            self._scalar.clear()
            return accepted, rest
        return accepted, text[position:] if self.is_complete else None

    def closing(self) -> str:
        """What has to follow what was passed on, so that it is valid JSON. Nothing that came is
        dropped but an unfinished escape.
        """
        if self._quote:
            end = '":null' if self._string_is_key else '"'
        elif self._scalar:
            end = self._comma + _finished_scalar("".join(self._scalar))
        elif self._expected is _Expected.COLON:
            end = ":null"
        elif self._expected is _Expected.VALUE:
            end = "null"
        else:
            end = ""
        return end + "".join(reversed(self._brackets)).replace(")", "]")

    def _read_string(self, text: str, position: int, passed: list[str]) -> int:
        plain = _PLAIN.match(text, position)
        assert plain is not None
        passed.append(plain.group())
        position = plain.end()
        if position == len(text):
            return position
        character = text[position]
        if character == self._quote:
            self._quote = ""
            passed.append('"')
            self._end_value(is_key=self._string_is_key)
            return position + 1
        if character in "\"'":
            passed.append("'" if character == "'" else '\\"')
            return position + 1
        if character != "\\":
            passed.append(_CONTROLS.get(character) or f"\\u{ord(character):04x}")
            return position + 1
        if escape := _ESCAPE.match(text, position):
            passed.append(escape.group())
            return escape.end()
        if _ESCAPE_BEGUN.match(text, position):
            self._begun = text[position:]
            return len(text)
        if lone := _LONE_SURROGATE.match(text, position):
            passed.append("\\ufffd")
            return lone.end()
        is_quote = text.startswith("\\'", position)
        passed.append("'" if is_quote else "\\\\")
        return position + 2 if is_quote else position + 1

    def _read_scalar(self, text: str, position: int, passed: list[str]) -> int:
        more = _SCALAR.match(text, position)
        if more is not None:
            self._scalar.append(more.group())
            return more.end()
        scalar = "".join(self._scalar)
        value = _scalar_value(scalar)
        if value[0] == '"' and not (self._brackets and self._takes_words):
            self.is_broken = True
            return position
        self._scalar.clear()
        self._pass_comma(passed)
        passed.append(value)
        self._end_value()
        return position

    def _read_structure(self, text: str, position: int, passed: list[str]) -> int:
        blanks = _BLANKS.match(text, position)
        assert blanks is not None
        if blanks.end() > position:
            if self._comma:
                self._comma = (self._comma + blanks.group())[:_MOST_BLANKS]
            elif self._num_passed or passed:
                passed.append(blanks.group())
            return blanks.end()
        character = text[position]
        expected = self._expected
        if expected is _Expected.COLON and character == ":":
            self._expected = _Expected.VALUE
            passed.append(character)
        elif expected is _Expected.COMMA_OR_END and character == ",":
            return self._read_comma(text, position)
        elif self._may_end() and character == self._brackets[-1]:
            self._comma = ""
            passed.append("}" if self._brackets.pop() == "}" else "]")
            self._end_value()
        elif character in "\"'" and expected not in (_Expected.COLON, _Expected.COMMA_OR_END):
            self._quote = character
            self._string_is_key = expected is _Expected.KEY_OR_END
            self._pass_comma(passed)
            passed.append('"')
        elif expected not in (_Expected.VALUE, _Expected.VALUE_OR_END):
            self.is_broken = True
            return position
        elif character in _BRACKETS:
            self._pass_comma(passed)
            passed.append("{" if character == "{" else "[")
            self._brackets.append(_BRACKETS[character])
            self._expected = _Expected.KEY_OR_END if character == "{" else _Expected.VALUE_OR_END
        elif scalar := _SCALAR.match(text, position):
            self._scalar.append(scalar.group())
            return scalar.end()
        else:
            self.is_broken = True
            return position
        return position + 1

    def _read_comma(self, text: str, position: int) -> int:
        """A comma with what commonly follows it: blanks, and in an array the next scalar."""
        if self._brackets[-1] == "}":
            self._comma = ","
            self._expected = _Expected.KEY_OR_END
            return position + 1
        item = _NEXT_ITEM.match(text, position)
        assert item is not None
        self._comma = text[position : item.start(1)]
        self._expected = _Expected.VALUE_OR_END
        if item[1]:
            self._scalar.append(item[1])
        return item.end()

    def _may_end(self) -> bool:
        return self._expected in (
            _Expected.VALUE_OR_END,
            _Expected.KEY_OR_END,
            _Expected.COMMA_OR_END,
        )

    def _pass_comma(self, passed: list[str]) -> None:
        passed.append(self._comma)
        self._comma = ""

    def _end_value(self, *, is_key: bool = False) -> None:
        if is_key:
            self._expected = _Expected.COLON
        elif self._brackets:
            self._expected = _Expected.COMMA_OR_END
        else:
            self._expected = _Expected.NOTHING


def _scalar_value(scalar: str) -> str:
    """The JSON text of a whole scalar; a bare word that is none becomes a string."""
    if _NUMBER.fullmatch(scalar):
        return scalar
    return _WORDS.get(scalar) or json.dumps(scalar)


def _finished_scalar(scalar: str) -> str:
    """The JSON text of the scalar that `scalar` begins."""
    for word, value in _WORDS.items():
        if word.startswith(scalar):
            return value
    is_begun = _NUMBER_BEGUN.fullmatch(scalar) and not _NUMBER.fullmatch(scalar)
    return f"{scalar}0" if is_begun else _scalar_value(scalar)
