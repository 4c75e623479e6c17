"""Byte-level BPE whose merges stay within one class of characters, so that values copy cleanly."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import regex

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|think|>")
USER_DEFINED = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
)
SPECIAL = CONTROL + USER_DEFINED
# The two steps of llama.cpp's pre-tokenizer "smollm": single digits, then the GPT-2 pattern.
DIGIT = regex.compile(r"\p{N}")
PIECE = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)")
CLASS = regex.compile(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+")
SPLIT_SPECIAL = regex.compile("(" + "|".join(regex.escape(token) for token in SPECIAL) + ")")


def byte_letters() -> dict[int, str]:
    """Return GPT-2's printable stand-in for every byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    others = (byte for byte in range(256) if byte not in letters)
    letters.update((byte, chr(256 + index)) for index, byte in enumerate(others))
    return letters


LETTERS = byte_letters()


def split_at(pattern: regex.Pattern[str], text: str) -> list[str]:
    """Cut text into the pattern's matches and the stretches between them."""
    pieces, end = [], 0
    for match in pattern.finditer(text):
        if match.start() > end:
            pieces.append(text[end : match.start()])
        pieces.append(match.group())
        end = match.end()
    if end < len(text):
        pieces.append(text[end:])
    return pieces


def pieces_of(text: str) -> list[str]:
    """Pre-tokenize text that holds no special token."""
    return [piece for part in split_at(DIGIT, text) for piece in split_at(PIECE, part)]


class Tokenizer:
    """Encodes any text; the vocabulary is special tokens, bytes, then merges by rank."""

    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self.merges = merges
        self.tokens = [*SPECIAL, *LETTERS.values(), *(a + b for a, b in merges)]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.cache: dict[str, list[int]] = {}

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read the merges that `save` wrote."""
        return cls([tuple(pair) for pair in json.loads(path.read_text(encoding="utf-8"))])

    def save(self, path: Path) -> None:
        """Write the merges as JSON."""
        path.write_text(json.dumps(self.merges, ensure_ascii=False), encoding="utf-8")

    def _piece(self, piece: str) -> list[int]:
        symbols = [LETTERS[byte] for byte in piece.encode()]
        while len(symbols) > 1:
            pairs = list(zip(symbols, symbols[1:], strict=False))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, 1 << 30))
            if best not in self.ranks:
                break
            symbols = join(symbols, best)
        return [self.ids[symbol] for symbol in symbols]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of text, special tokens included."""
        ids: list[int] = []
        for index, part in enumerate(SPLIT_SPECIAL.split(text)):
            if index % 2:
                ids.append(self.ids[part])
                continue
            for piece in pieces_of(part):
                known = self.cache.get(piece)
                if known is None:
                    known = self._piece(piece)
                    if len(self.cache) < 200_000:
                        self.cache[piece] = known
                ids.extend(known)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; broken UTF-8 becomes replacement characters."""
        back = {letter: byte for byte, letter in LETTERS.items()}
        data = bytearray()
        for index in ids:
            token = self.tokens[index]
            if index < len(SPECIAL):
                data += token.encode()
            else:
                data += bytes(back[letter] for letter in token)
        return data.decode("utf-8", errors="replace")


def join(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Replace every occurrence of the pair by its merged symbol, from the left."""
    out, index = [], 0
    while index < len(symbols):
        if index + 1 < len(symbols) and (symbols[index], symbols[index + 1]) == pair:
            out.append(symbols[index] + symbols[index + 1])
            index += 2
        else:
            out.append(symbols[index])
            index += 1
    return out


def count_units(texts: Iterable[str]) -> Counter[str]:
    """Count the stretches of one character class that merges are learnt from."""
    counts: Counter[str] = Counter()
    for text in texts:
        for part in SPLIT_SPECIAL.split(text)[::2]:
            for piece in pieces_of(part):
                counts.update(CLASS.findall(piece))
    return counts


def learn_merges(counts: Counter[str], size: int) -> list[tuple[str, str]]:
    """Learn up to `size` merges from counted units by the usual BPE rule."""
    words = {unit: [LETTERS[byte] for byte in unit.encode()] for unit in counts}
    pairs: Counter[tuple[str, str]] = Counter()
    where: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for unit, symbols in words.items():
        for pair in zip(symbols, symbols[1:], strict=False):
            pairs[pair] += counts[unit]
            where[pair].add(unit)
    merges: list[tuple[str, str]] = []
    while len(merges) < size and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < 2:
            break
        merges.append(best)
        for unit in where.pop(best):
            old = words[unit]
            new = words[unit] = join(old, best)
            for pair in zip(old, old[1:], strict=False):
                pairs[pair] -= counts[unit]
            for pair in zip(new, new[1:], strict=False):
                pairs[pair] += counts[unit]
                where[pair].add(unit)
        del pairs[best]
    return merges


def train(texts: list[str], values: set[str], size: int, spaced: int) -> Tokenizer:
    """Learn a vocabulary of `size` tokens, the last `spaced` being frequent words with a space.

    Words in `values` never get a spaced form: they must encode alike wherever they stand.
    """
    room = size - len(SPECIAL) - 256 - spaced
    merges = learn_merges(count_units(texts), room)
    whole = {a + b for a, b in merges}
    follows: Counter[str] = Counter()
    for text in texts:
        follows.update(regex.findall(r"(?<= )[a-z]{1,12}(?![\p{L}\p{N}'_-])", text))
    common = [
        word
        for word, _ in follows.most_common(2000)
        if word not in values and (word in whole or len(word) == 1)
    ]
    space = LETTERS[32]
    return Tokenizer(merges + [(space, word) for word in common[:spaced]])
