"""A byte-level BPE vocabulary of any size: invented words that can be read, each reachable."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from words import WORDS

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""llama.h enum llama_token_type."""

CONTROL_PIECES = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
USER_DEFINED_PIECES = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
"""The special tokens of Qwen3, in the order of their ids."""

_NUM_UNUSED = 267
"""Rows that Qwen3 pads its embedding with, for a round shape."""

_ONSETS = "b c d f g h k l m n p r s t v w br cl dr fl gr pl pr sh sl st th tr".split()
_VOWELS = "a e i o u ai ea ou".split()
_CODAS = ["", "", "", *"n r s t l m nd st".split()]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    pieces: list[str]
    types: list[int]
    merges: list[str]
    num_readable: int
    """Tokens that stand for text; the rest, from here on, should never be generated."""
    eos: int
    eot: int


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE (GPT-2)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def invented_words(seed: int) -> Iterator[str]:
    """Words without end, of one or two syllables, a tenth of them capitalised."""
    random = Random(seed)
    while True:
        syllables = [random.choice(_ONSETS) + random.choice(_VOWELS)]
        if random.random() < 0.7:
            syllables.append(random.choice(_ONSETS) + random.choice(_VOWELS))
        word = "".join(syllables) + random.choice(_CODAS)
        yield word.capitalize() if random.random() < 0.1 else word


def build_vocabulary(size: int, *, seed: int = 0) -> Vocabulary:
    """`size` pieces: every byte, words behind a space with all their beginnings, special tokens.

    A word is reached one letter at a time, so each of its beginnings is a piece as well.
    """
    characters = byte_characters()
    space = characters[ord(" ")]
    # Readable bytes come first, so that one number tells what may be generated.
    alphabet = [characters[byte] for byte in range(0x20, 0x7F)]
    rest = [character for character in characters if character not in set(alphabet)]
    special = [*CONTROL_PIECES, *USER_DEFINED_PIECES]
    num_words = size - len(characters) - len(special) - _NUM_UNUSED
    if num_words < 1000:
        raise ValueError(f"a vocabulary of {size} has no room for words; ask for 2,000 or more")
    beginnings: dict[str, None] = {}
    for word in itertools.chain(WORDS, invented_words(seed)):
        beginnings.update(dict.fromkeys(space + word[: end + 1] for end in range(len(word))))
        if len(beginnings) >= num_words:
            break
    words = list(beginnings)[:num_words]
    readable = [*alphabet, *words]
    pieces = [*readable, *rest, *special, *(f"[PAD{number}]" for number in range(_NUM_UNUSED))]
    types = [NORMAL] * (len(readable) + len(rest))
    types += [CONTROL] * len(CONTROL_PIECES) + [USER_DEFINED] * len(USER_DEFINED_PIECES)
    types += [UNUSED] * _NUM_UNUSED
    merges = [f"{word[:-1]} {word[-1]}" for word in words]
    first_special = len(readable) + len(rest)
    return Vocabulary(
        pieces,
        types,
        merges,
        num_readable=len(readable),
        eos=first_special,
        eot=first_special + CONTROL_PIECES.index("<|im_end|>"),
    )
