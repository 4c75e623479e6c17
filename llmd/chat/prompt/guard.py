"""Keeps special tokens out of what a client wrote.

`<|im_end|>` in a user's text must not end the turn. So before rendering, a marker, a code point
that occurs nowhere else, goes behind the first character of whatever could become such a token;
the rendered text is cut at the markers, and each piece is tokenised by itself:

    content          a<|im_end|>b          rendered   ...user\\na<M|im_end|>b<|im_end|>\\n
    pieces           "...user\\na<"   "|im_end|>b<|im_end|>\\n"

What could become a token is: a token's text, in any case (templates use `lower`); the beginning of
one at the end of a text, as what follows may complete it; the rest of one at the start of a text,
where the template's own literals may have begun it. Blanks at the ends do not count, since
templates trim them. Not covered: a template that deletes text from the middle of a string, or that
decodes the escapes of JSON text with `from_json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Any

_CANDIDATES = tuple(map(chr, (*range(0xFDD0, 0xFDF0), *range(0xE000, 0xE100))))

_SPARE = range(0xF0000, 0x10FFFE)

_Trie = dict[str, "_Trie"]


class SpecialTokenGuard:
    """Finds and marks the texts of `tokens` in strings. Immutable.

    Tokens of one character or of blanks alone are left out: ordinary text is full of them.
    `literals` are the template's own texts.
    """

    def __init__(self, tokens: Collection[str], literals: Iterable[str] = ()) -> None:
        kept = sorted({t.strip().lower() for t in tokens if len(t.strip()) > 1})
        self._token = re.compile(_token_pattern(kept), re.IGNORECASE) if kept else None
        rests = "|".join(_branches(_trie(sorted(_open_rests(kept, literals)))))
        self._rest = re.compile(rf"\A\s*(?={rests})", re.IGNORECASE) if rests else None

    def suspects(self, text: str) -> bool:
        """Whether `text` needs a marker: one search of the text."""
        if self._token is not None and self._token.search(text):
            return True
        return self._rest is not None and self._rest.match(text) is not None

    def mark(self, text: str, marker: str) -> str:
        if self._token is not None:
            text = self._token.sub(rf"\g<0>{marker}", text)
        if self._rest is not None and text:
            text = self._rest.sub(rf"\g<0>{marker}", text, count=1)
        return text


def cut(text: str, marker: str) -> tuple[str, ...]:
    """`text` in pieces without `marker`, nor the escape that JSON or repr made of it."""
    pattern = f"{marker}|{re.escape(_escape(marker))}"
    return tuple(piece for piece in re.split(pattern, text) if piece)


def free_markers(texts: Collection[str], num_markers: int) -> list[str]:
    """Code points that occur in none of `texts`, neither as such nor as an escape."""
    free = (c for c in _CANDIDATES if not any(c in t or _escape(c) in t for t in texts))
    markers = list(islice(free, num_markers))
    if len(markers) < num_markers:
        # Someone sent nearly all of these; nobody can send all of two whole planes.
        used = set().union(*texts)
        markers = list(islice((c for c in map(chr, _SPARE) if c not in used), num_markers))
    return markers


def _escape(marker: str) -> str:
    return f"\\u{ord(marker):04x}"


def rebuilt(value: Any, change: Callable[[str], str] | None) -> Any:
    """A deep copy of a JSON value, which a template may then alter, with its strings changed."""
    if isinstance(value, str):
        return change(value) if change else value
    if isinstance(value, dict):
        return {rebuilt(key, change): rebuilt(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rebuilt(item, change) for item in value]
    return value


def _trie(words: Iterable[str]) -> _Trie:
    root: _Trie = {}
    for word in words:
        node = root
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return root


def _branches(node: _Trie) -> list[str]:
    return [re.escape(c) + _rest_pattern(child) for c, child in node.items()]


def _rest_pattern(node: _Trie) -> str:
    """Matches the rest of a word of the trie, or as much of it as fits before the text ends."""
    if "" in node:
        return ""
    return f"(?:{'|'.join(_branches(node))}|\\s*\\Z)"


def _token_pattern(tokens: Iterable[str]) -> str:
    """Matches the first character of a token only, so that overlapping ones are found as well."""
    root = _trie(tokens)
    return "|".join(f"{re.escape(c)}(?={_rest_pattern(child)})" for c, child in root.items())


def _open_rests(tokens: Collection[str], literals: Iterable[str]) -> set[str]:
    """What is left of the tokens that the end of a literal begins."""
    tails = {tail for literal in literals for tail in _tails(literal.lower(), tokens)}
    return {token[len(tail) :] for token in tokens for tail in tails if token.startswith(tail)}


def _tails(literal: str, tokens: Collection[str]) -> Iterator[str]:
    longest = max(map(len, tokens), default=0)
    for size in range(1, min(longest, len(literal) + 1)):
        tail = literal[-size:]
        if any(token.startswith(tail) and token != tail for token in tokens):
            yield tail
