"""Values for dialogues: names, places, words, numbers; some words are held out."""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Callable, Sequence

import words


def held_out(word: str) -> bool:
    """Tell whether a word belongs to evaluation and must never be drawn in training."""
    return zlib.crc32(word.lower().encode()) % 8 == 0


class Values:
    """Draws values; `evaluation` selects the held-out part of every open class of words."""

    def __init__(self, rng: random.Random, evaluation: bool = False) -> None:
        self.rng = rng
        self.evaluation = evaluation

    def only(self, draw: Callable[[], str]) -> str:
        """Draw until the word is on this side of the held-out split."""
        while held_out(word := draw()) != self.evaluation:
            pass
        return word

    def pick(self, options: Sequence[str]) -> str:
        """Draw one phrase of a closed list that training and evaluation share."""
        return self.rng.choice(options)

    def listed(self, options: Sequence[str]) -> str:
        """Draw one word of an open list, on this side of the split."""
        return self.only(lambda: self.rng.choice(options))

    def chance(self, share: float) -> bool:
        """Return True in that share of cases."""
        return self.rng.random() < share

    def _syllables(self) -> str:
        count = self.rng.choice((1, 2, 2, 2, 2, 3))
        return "".join(
            self.rng.choice(words.ONSETS)
            + self.rng.choice(words.NUCLEI)
            + self.rng.choice(words.CODAS)
            for _ in range(count)
        )

    def _letters(self) -> str:
        count = self.rng.randint(2, 5)
        return "".join(self.rng.choice(string.ascii_lowercase) for _ in range(count))

    def _foreign(self) -> str:
        alphabet = self.rng.choice(words.ALPHABETS)
        if self.chance(0.4):
            base = list(self._syllables())
            base.insert(self.rng.randint(0, len(base)), self.rng.choice(words.ALPHABETS[2]))
            return "".join(base)
        return "".join(self.rng.choice(alphabet) for _ in range(self.rng.randint(2, 5)))

    def _joined(self) -> str:
        """Join two real words, held-out ones too, so that training writes each of their tokens."""
        return "".join(self.rng.choice(words.PARTS) for _ in range(2))

    def made_up(self) -> str:
        """Return a word that means nothing, mostly in lower case."""
        roll = self.rng.random()
        if roll < 0.62:
            return self.only(self._syllables)
        if roll < 0.8:
            return self.only(self._joined)
        return self.only(self._letters if roll < 0.94 else self._foreign)

    def plain(self) -> str:
        """Return a lower-case made-up word of ASCII letters, fit for an identifier."""
        roll = self.rng.random()
        if roll < 0.75:
            return self.only(self._syllables)
        return self.only(self._letters if roll < 0.88 else lambda: self._joined().lower())

    def word(self) -> str:
        """Return one word, real or made up, mostly in lower case."""
        roll = self.rng.random()
        if roll < 0.42:
            word = self.listed(words.THINGS)
        elif roll < 0.5:
            word = self.listed(words.ADJECTIVES)
        else:
            word = self.made_up()
        case = self.rng.random()
        return word.capitalize() if case < 0.12 else word.upper() if case < 0.17 else word

    def proper(self) -> str:
        """Return a made-up capitalised word, at times with a hyphen or an apostrophe."""
        word = self.made_up().capitalize()
        if self.chance(0.03):
            word = f"{word}{self.pick(('-', chr(39)))}{self.made_up().capitalize()}"
        return word

    def name(self) -> str:
        """Return a person's name."""
        roll = self.rng.random()
        first = self.listed(words.FIRST_NAMES) if roll < 0.4 else self.proper()
        if self.chance(0.14):
            last = self.listed(words.LAST_NAMES) if self.chance(0.4) else self.proper()
            return f"{first} {last}"
        return first

    def city(self) -> str:
        """Return a place name of one to three words."""
        roll = self.rng.random()
        if roll < 0.4:
            return self.listed(words.CITIES)
        if roll < 0.46:
            return self.listed(words.TWO_WORD_CITIES)
        prefix = self.pick(("San ", "Port ", "New ", "Saint ", "Lake ")) if roll > 0.9 else ""
        return prefix + self.proper()

    def whole(self, top: int = 0) -> int:
        """Return a whole number, up to `top` if given, else of one to six digits."""
        if top:
            return self.rng.randint(1, top)
        return self.rng.randint(0, 10 ** self.rng.choice((1, 2, 2, 3, 3, 4, 5, 6)))

    def decimal(self) -> float:
        """Return a number with one or two decimals."""
        return round(self.rng.uniform(0, 10 ** self.rng.randint(1, 3)), self.rng.randint(1, 2))

    def code(self) -> str:
        """Return a short mixed string such as an order number."""
        letters = "".join(self.rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(3))
        return self.only(
            lambda: self.pick(("{a}{b}", "{a}-{b}", "#{b}", "{a}_{b}")).format(
                a=letters[: self.rng.randint(1, 3)], b=self.rng.randint(1, 99999)
            )
        )

    def phrase(self) -> str:
        """Return one to four words."""
        count = self.rng.choice((1, 1, 2, 2, 3, 3, 4))
        return " ".join(self.word() for _ in range(count))

    def thing(self) -> str:
        """Return a noun phrase such as 'blue lamp' or a made-up noun."""
        noun = self.listed(words.THINGS) if self.chance(0.55) else self.made_up()
        return f"{self.pick(words.ADJECTIVES)} {noun}" if self.chance(0.25) else noun

    def expression(self) -> str:
        """Return an arithmetic expression of two or three numbers."""
        tight = self.chance(0.25)
        parts = [str(self.number())]
        for _ in range(self.rng.choice((1, 1, 1, 2))):
            parts += [self.pick("+-*/"), str(self.number())]
        return ("" if tight else " ").join(parts)

    def number(self) -> int | float:
        """Return a whole or a decimal number."""
        return self.decimal() if self.chance(0.2) else self.whole()

    def email(self) -> str:
        """Return an e-mail address."""
        return f"{self.plain()}@{self.plain()}.{self.pick(('com', 'org', 'net', 'io'))}"

    def text(self, kind: str) -> str:
        """Return a value of the named kind as text."""
        makers: dict[str, Callable[[], str]] = {
            "city": self.city,
            "name": self.name,
            "word": self.word,
            "phrase": self.phrase,
            "thing": self.thing,
            "code": self.code,
            "expression": self.expression,
            "email": self.email,
            "language": lambda: self.listed(words.LANGUAGES),
            "job": lambda: self.listed(words.JOBS),
            "proper": self.proper,
        }
        return makers[kind]()

    def entity(self) -> str:
        """Return what one may look up: a name, a place, a thing or a code."""
        kinds = ("city", "name", "word", "thing", "code", "proper", "proper")
        return self.text(self.pick(kinds))
