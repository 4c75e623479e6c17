"""Drills of random tokens: copying what came before, and choosing a name by what is said of it."""

from __future__ import annotations

import random

from guides import ASKED, CHOSEN, DESCRIBED, Guide, copied
from tokenizer import SPECIAL, Tokenizer

Row = tuple[list[int], list[float], list[Guide]]
SAID = ("", " ", '", "name": "', '.", "name": "')
CLOSED = ('"}\n', '", "parameters": {"type": "object"}}\n')
ASKING = (
    "",
    " ",
    '<|im_end|>\n{"name": "',
    '<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{"name": "',
)


class Drills:
    """Draws drills for a vocabulary; every one has weight only where it can be foreseen."""

    def __init__(self, tokenizer: Tokenizer, rng: random.Random) -> None:
        self.rng, self.size = rng, len(tokenizer.tokens)
        self.said, self.closed, self.asked = (
            [tokenizer.encode(mark) for mark in marks] for marks in (SAID, CLOSED, ASKING)
        )
        self.opened, self.done = tokenizer.encode('{"description": "'), tokenizer.encode('"')

    def tokens(self, fewest: int, most: int) -> list[int]:
        """Draw some tokens of any sort but special ones."""
        rng = self.rng
        return [rng.randrange(len(SPECIAL), self.size) for _ in range(rng.randint(fewest, most))]

    def draw(self) -> Row:
        """Draw a drill; one in six is for copying."""
        return self.copy() if self.rng.random() < 1 / 6 else self.choose()

    def copy(self) -> Row:
        """Draw random tokens that come back several times, with weight on the returns."""
        rng = self.rng
        part = self.tokens(3, 14)
        tokens, weights = list(part), [0.0] * len(part)
        for _ in range(rng.randint(2, 5)):
            noise = self.tokens(0, 6)
            start = rng.randrange(len(part) - 1)
            again = part[start:] if rng.random() < 0.5 else part
            tokens += noise + again
            weights += [0.0] * (len(noise) + 1) + [1.0] * (len(again) - 1)
        return tokens, weights, []

    def choose(self) -> Row:
        """Draw keys, each with a name said after it, and ask for every name by its key.

        This is what a choice among tools comes down to. Where nothing stands between keys and
        names it is mere copying, which leads on to those with the words of the template between.
        Fillers stand around keys, and names may begin alike.
        """
        rng = self.rng
        count = rng.choice((2, 3, 3, 4, 5, 6))
        loose = rng.random() < 0.5
        said, closed, asked = map(rng.choice, (self.said, self.closed, self.asked))
        fillers = self.tokens(4, 4)
        heads = [self.tokens(1, 1), *[[]] * 7]
        records = [(rng.choice(heads) + self.tokens(1, 3), self.tokens(1, 3)) for _ in range(count)]
        tokens: list[int] = []
        weights: list[float] = []
        guides: list[Guide] = []
        places: list[int] = []
        for name, key in records:
            before, after = (rng.sample(fillers, rng.randint(0, 3) * loose) for _ in range(2))
            start = len(tokens) + len(self.opened) + len(before)
            tokens += self.opened + before + key + after + said
            places.append(len(tokens))
            keys = tuple(range(start, start + len(key)))
            guides += [Guide(DESCRIBED, len(tokens) + i, keys) for i in range(len(name))]
            tokens += name + closed
            weights += [0.0] * (len(tokens) - len(weights))
        for index in rng.sample(range(count), count):
            name, key = records[index]
            before, after = (rng.sample(fillers, rng.randint(0, 3) * loose) for _ in range(2))
            start = len(tokens) + len(before)
            tokens += before + key + after + asked
            keys = tuple(range(start, start + len(key)))
            guides.append(Guide(ASKED, len(tokens) - 1, keys))
            guides += copied(len(tokens), places[index], len(name), CHOSEN)
            weights += [0.0] * (len(tokens) - len(weights))
            tokens += name + self.done
            weights += [1.0] * (len(tokens) - len(weights))
        return tokens, weights, guides
