"""From a JSON schema's `pattern` (ECMA-262) to the regular expressions that llguidance reads.

Where validators differ (JavaScript, Python), what matches in all of them is written: `.` stops at
every line end, `\\d` and `\\w` are ASCII, `\\s` are the blanks that both know.

U+0000 is in no class that is written. llguidance 1.9.1 takes a class with all control characters
to have the quote and the backslash too when it escapes for JSON: `[^"]` would let a quote pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_CHARACTERS = 5_000
MAX_REPEATS = 100_000
MAX_NESTING = 50

_BLANKS = (
    r"\t\n\x{0b}\x{0c}\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
)
_ALL_BLANKS = rf"{_BLANKS}\x{{1c}}-\x{{1f}}\x{{85}}\x{{feff}}"
_NUL = r"\x{0}"
_WORD = "0-9A-Za-z_"
_ALL_WORD = r"_\p{L}\p{M}\p{N}\p{Pc}"

# Each class escape as what surely is in it, and as what may be: the latter is kept out of what
# must not match.
_CLASSES = {
    "d": ("0-9", r"\p{Nd}"),
    "w": (_WORD, _ALL_WORD),
    "s": (_BLANKS, _ALL_BLANKS),
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_CATEGORIES = frozenset(
    "C Cc Cf Cn Co L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So "
    "Z Zl Zp Zs".split()
)
# What widespread generators of schemas write with look-arounds, and the same without: pydantic's
# Decimal, zod's email.
_REWRITTEN = {
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$": r"^[+-]?(?:\d+\.?\d*|\.\d+)$",
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@"
    r"([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$": r"^(?:[A-Za-z0-9_'+-]+\.)*[A-Za-z0-9_'+-]*"
    r"[A-Za-z0-9_+-]@(?:[A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}$",
}
_LOOKAROUNDS = ("?=", "?!", "?<=", "?<!")
_QUANTIFIER = re.compile(r"\*|\+|\?|\{(\d{1,7})(?:(,)(\d{0,7}))?\}")
_GROUP = re.compile(r"\?:|\?P?<[A-Za-z_$][A-Za-z0-9_$]*>")


class PatternFault(Exception):
    """A pattern that cannot be enforced, or with `is_invalid` one that is none."""

    def __init__(self, reason: str, *, is_invalid: bool = False) -> None:
        super().__init__(reason)
        self.is_invalid = is_invalid


@dataclass(frozen=True, slots=True)
class _Anchor:
    sign: str


@dataclass(frozen=True, slots=True)
class _Group:
    options: tuple[_Sequence, ...]

    def is_anchored(self, sign: str) -> bool:
        """Whether an anchor stands at that edge of one of the options, or in a group there."""
        edge = 0 if sign == "^" else -1
        for option in self.options:
            part = option[edge] if option else None
            if part == _Anchor(sign) or (isinstance(part, _Group) and part.is_anchored(sign)):
                return True
        return False


# A part is an anchor, a group, or the text of anything else.
_Part = _Anchor | _Group | str
_Sequence = tuple[_Part, ...]


def rust_pattern(pattern: str) -> str:
    """An expression, `^(?:...)$`, for the texts that JSON Schema's `pattern` is found in. Raises
    PatternFault.
    """
    group = _Parser(_REWRITTEN.get(pattern, pattern)).parse()
    return f"^(?:{_written(group, at_start=True, at_end=True)})$"


def length_pattern(minimum: int, maximum: int | None) -> str:
    """Matches the texts of so many characters."""
    return f"^(?:(?s:.{{{minimum},{'' if maximum is None else maximum}}}))$"


def other_texts(texts: Iterable[str]) -> str:
    """Matches every text but these."""
    return f"^(?:{_other_than(_trie(texts))})$"


def fixed_start(pattern: str) -> str:
    """The text that everything begins with that an expression of `rust_pattern` matches, or ""."""
    found = re.match(r"\^\(\?:((?:[0-9A-Za-z_]|\\x\{[0-9a-f]+\})*)(?![?*+{])", pattern)
    if found is None or "|" in pattern:
        return ""
    return re.sub(r"\\x\{([0-9a-f]+)\}", lambda m: chr(int(m[1], 16)), found[1])


def _written(group: _Group, *, at_start: bool, at_end: bool) -> str:
    """The text of a group. At an edge of the whole pattern anything may stand outside of what has
    no anchor there.
    """
    return "|".join(_written_sequence(option, at_start, at_end) for option in group.options)


def _written_sequence(parts: _Sequence, at_start: bool, at_end: bool) -> str:
    first, last = 0, len(parts)
    while first < last and parts[first] == _Anchor("^"):
        first += 1
    while last > first and parts[last - 1] == _Anchor("$"):
        last -= 1
    if (first and not at_start) or (last < len(parts) and not at_end):
        raise PatternFault("has an anchor within the text")
    texts = []
    opens = at_start and not first
    closes = at_end and last == len(parts)
    for index, part in enumerate(parts[first:last], first):
        if isinstance(part, _Anchor):
            raise PatternFault("has an anchor within the text")
        if isinstance(part, str):
            texts.append(part)
            continue
        takes_start = opens and index == first and part.is_anchored("^")
        takes_end = closes and index == last - 1 and part.is_anchored("$")
        opens, closes = opens and not takes_start, closes and not takes_end
        texts.append(f"(?:{_written(part, at_start=takes_start, at_end=takes_end)})")
    return f"{'(?s:.*)' * opens}{''.join(texts)}{'(?s:.*)' * closes}"


class _Parser:
    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_CHARACTERS:
            raise PatternFault(f"has more than {MAX_CHARACTERS} characters")
        self._text = pattern
        self._at = 0
        self._depth = 0

    def parse(self) -> _Group:
        group = self._choice()
        if self._at < len(self._text):
            raise PatternFault("has a ')' too many", is_invalid=True)
        return group

    def _choice(self) -> _Group:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return _Group(tuple(options))

    def _sequence(self) -> _Sequence:
        parts: list[_Part] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._term())
        return tuple(parts)

    def _term(self) -> _Part:
        if self._peek() in ("^", "$"):
            return _Anchor(self._next())
        atom = self._group() if self._take("(") else self._atom()
        quantifier = self._quantifier()
        if not quantifier:
            return atom
        if isinstance(atom, _Group):
            atom = f"(?:{_written(atom, at_start=False, at_end=False)})"
        return f"{atom}{quantifier}"

    def _quantifier(self) -> str:
        found = _QUANTIFIER.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        # A lazy quantifier matches the same texts.
        self._take("?")
        if self._text[self._at : self._at + 1] in ("+", "*", "?"):
            raise PatternFault("has a quantifier behind a quantifier", is_invalid=True)
        low, comma, high = found.groups()
        if low is None:
            return found[0]
        if high and int(high) < int(low):
            raise PatternFault("repeats from more times to fewer", is_invalid=True)
        if max(int(low), int(high or 0)) > MAX_REPEATS:
            raise PatternFault(f"repeats more than {MAX_REPEATS} times")
        return f"{{{low}{comma or ''}{high or ''}}}"

    def _group(self) -> _Group:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise PatternFault(f"nests groups more than {MAX_NESTING} deep")
        if self._text.startswith(_LOOKAROUNDS, self._at):
            raise PatternFault("has a look-around")
        kind = _GROUP.match(self._text, self._at)
        if kind is not None:
            self._at = kind.end()
        elif self._peek() == "?":
            raise PatternFault("has a group of a kind that llmd does not know")
        inner = self._choice()
        if not self._take(")"):
            raise PatternFault("has a '(' that is not closed", is_invalid=True)
        self._depth -= 1
        return inner

    def _atom(self) -> str:
        char = self._next()
        if char == ".":
            return r"[^\n\r\x{2028}\x{2029}]"
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        if char in "*+?":
            raise PatternFault(f"has a '{char}' with nothing to repeat", is_invalid=True)
        return _spelled(char)

    def _escape(self) -> str:
        char = self._peek()
        if char.lower() in _CLASSES:
            self._at += 1
            sure, possible = _CLASSES[char.lower()]
            return f"[{sure}]" if char.islower() else f"[^{_NUL}{possible}]"
        if char in ("p", "P"):
            return f"[{self._category()}&&[^{_NUL}]]"
        if char in ("b", "B"):
            raise PatternFault(f"has a word boundary ('\\{char}')")
        return _spelled(self._escaped_char())

    def _category(self) -> str:
        found = re.compile(r"[pP]\{([A-Za-z]+)\}").match(self._text, self._at)
        if found is None or found[1] not in _CATEGORIES:
            raise PatternFault("has a Unicode property that llmd does not know")
        self._at = found.end()
        return f"\\{found[0]}"

    def _escaped_char(self) -> str:
        """The character of an escape whose backslash was read."""
        char = self._next()
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "0" and not self._peek().isdigit():
            return "\0"
        if char == "c" and self._peek().isascii() and self._peek().isalpha():
            return chr(ord(self._next()) % 32)
        if char == "x":
            return self._hex(r"([0-9A-Fa-f]{2})")
        if char == "u":
            return self._unicode()
        if char.isdigit() or char == "k":
            raise PatternFault("has a backreference")
        if char.isalpha():
            raise PatternFault(f"has the escape '\\{char}', which llmd does not know")
        return char

    def _unicode(self) -> str:
        pair = re.compile(r"([dD][89abAB][0-9A-Fa-f]{2})\\u([dD][c-fC-F][0-9A-Fa-f]{2})")
        found = pair.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
            high, low = (int(digits, 16) for digits in found.groups())
            return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
        return self._hex(r"([0-9A-Fa-f]{4})|\{([0-9A-Fa-f]{1,6})\}")

    def _hex(self, digits: str) -> str:
        found = re.compile(digits).match(self._text, self._at)
        if found is None:
            raise PatternFault("has an escape without its hexadecimal digits", is_invalid=True)
        self._at = found.end()
        code = int(found[found.lastindex or 1], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise PatternFault("names a code point that is no character")
        return chr(code)

    def _class(self) -> str:
        is_negated = self._take("^")
        items: list[str] = []
        while not self._take("]"):
            low = self._class_item(is_negated)
            if len(low) > 1:
                items.append(low)
                continue
            if self._text.startswith("-", self._at) and self._text[self._at + 1 :][:1] != "]":
                self._at += 1
                high = self._class_item(is_negated)
                if len(high) > 1:
                    items += [_spelled(low), _spelled("-"), high]
                    continue
                if high < low:
                    raise PatternFault("has a range that runs backwards", is_invalid=True)
                if is_negated or high > "\0":
                    low = low if is_negated else max(low, "\1")
                    items.append(f"{_spelled(low)}-{_spelled(high)}")
            elif is_negated or low > "\0":
                items.append(_spelled(low))
        if not items:
            return "(?s:.)" if is_negated else r"[^\x{0}-\x{10ffff}]"
        text = "".join(items)
        return f"[^{_NUL}{text}]" if is_negated else f"[{text}]"

    def _class_item(self, is_negated: bool) -> str:
        """One character, or the text of a set of them."""
        char = self._next()
        if char != "\\":
            return char
        escaped = self._peek()
        if escaped.lower() in _CLASSES:
            self._at += 1
            sure, possible = _CLASSES[escaped.lower()]
            if escaped.islower():
                return possible if is_negated else sure
            return f"[^{sure}]" if is_negated else f"[^{_NUL}{possible}]"
        if escaped in ("p", "P"):
            return self._category() if is_negated else f"[{self._category()}&&[^{_NUL}]]"
        if escaped == "b":
            self._at += 1
            return "\b"
        return self._escaped_char()

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise PatternFault("ends too early", is_invalid=True)
        self._at += 1
        return char

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, char: str) -> bool:
        if not self._text.startswith(char, self._at):
            return False
        self._at += 1
        return True


def _spelled(char: str) -> str:
    """A character so that it means only itself, inside a class and outside."""
    if char.isascii() and (char.isalnum() or char == "_"):
        return char
    return f"\\x{{{ord(char):x}}}"


Trie = dict[str, "Trie"]
_END = ""


def _trie(texts: Iterable[str]) -> Trie:
    root: Trie = {}
    for text in texts:
        node = root
        for char in text:
            node = node.setdefault(char, {})
        node[_END] = {}
    return root


def _other_than(node: Trie) -> str:
    children = [char for char in node if char != _END]
    options = [] if _END in node else [""]
    options += [f"{_spelled(char)}(?:{_other_than(node[char])})" for char in children]
    others = "".join(map(_spelled, children))
    options.append(f"[^{_NUL}{others}](?s:.*)")
    return "|".join(options)
