"""Drills of random tokens: copying what came before, and choosing a name by what is said of it."""

from __future__ import annotations

import random

from tokenizer import SPECIAL, Tokenizer

Row = tuple[list[int], list[float], list[int], list[int]]
MARKS = (
    ('{"name": "', '", "description": "', '"}\n', "<|im_end|>\n", '{"name": "', '"'),
    ('{"name": "', '", "description": "', '"}\n', " ", '<tool_call>\n{"name": "', '", '),
)


class Drills:
    """Draws drills for a vocabulary; every one has weight only where it can be foreseen."""

    def __init__(self, tokenizer: Tokenizer, rng: random.Random) -> None:
        self.rng, self.size = rng, len(tokenizer.tokens)
        self.marks = [[tokenizer.encode(mark) for mark in row] for row in MARKS]

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
        return tokens, weights, [-1] * len(tokens), [-1] * len(tokens)

    def choose(self) -> Row:
        """Draw names, each with a key said of it, and ask for every name by its key.

        This is what a choice among tools comes down to: the name stands before the description
        that tells it from the others. Fillers stand around keys, and names may begin alike.
        """
        rng = self.rng
        count = rng.choice((2, 2, 2, 3, 3, 4, 6))
        loose = rng.random() < 0.5
        marks = rng.choice(self.marks)
        if rng.random() < 0.1:
            marks = [self.tokens(1, 2) for _ in marks]
        opened, said, closed, asked, named, done = marks
        fillers = self.tokens(4, 4)
        heads = [self.tokens(1, 1), [], [], []]
        records = [(rng.choice(heads) + self.tokens(1, 3), self.tokens(1, 3)) for _ in range(count)]
        tokens: list[int] = []
        hints: list[int] = []
        for name, key in records:
            before, after = rng.sample(fillers, rng.randint(0, 3) * loose), self.tokens(0, loose)
            record = opened + name + said + before + key + after + closed
            tokens += record
            hints += [-1] * len(opened) + [name[0]] * (len(record) - len(opened))
        weights = [0.0] * len(tokens)
        asks = [-1] * len(tokens)
        for name, key in rng.sample(records, count):
            before = rng.sample(fillers, rng.randint(0, 3) * loose)
            after = rng.sample(fillers, int(loose))
            prompt = before + key + after + asked + named
            tokens += prompt + name + done
            asks += [-1] * len(before) + [name[0]] * (len(prompt) - len(before))
            asks += [-1] * len(name + done)
            weights += [0.0] * len(prompt) + [1.0] * (len(name) + 1) + [0.0] * (len(done) - 1)
        return tokens, weights, hints + [-1] * (len(tokens) - len(hints)), asks
