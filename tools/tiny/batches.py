"""Batches of dialogues for training, drawn as training goes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import corpus
import torch
from drills import Drills, Row
from tokenizer import Tokenizer
from torch import Tensor
from values import Values

POOL = 256

HINT_SHARE = 0.25
NO_HINT = -1


class Batches:
    """Draws dialogues, sorts a pool of them by length, and packs padded batches."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        seed: int,
        size: int,
        longest: int,
        drills: float,
        copying: float,
    ) -> None:
        self.tokenizer, self.size, self.longest = tokenizer, size, longest
        self.drills, self.copying = drills, copying
        self.values = Values(random.Random(seed))
        self.drilling = Drills(tokenizer, self.values.rng)
        self.opened = tokenizer.encode('<tool_call>\n{"name": "')[2:]
        self.asked = tokenizer.encode("<|im_start|>user\n")

    def sample(self) -> Row:
        """Draw one dialogue, or a drill, that is short enough, and hints for a part of it."""
        while True:
            if self.values.chance(self.drills):
                tokens, weights, hints, asks = self.drilling.draw()
            else:
                plain = self.values.chance(self.copying)
                draw = corpus.repetition if plain else corpus.draw_dialogue
                tokens, weights = corpus.encode(self.tokenizer, draw(self.values))
                hints, asks = self.name_hints(tokens), self.call_hints(tokens)
            if len(tokens) <= self.longest:
                return tokens, weights, self.some(hints), self.some(asks)

    def some(self, hints: list[int]) -> list[int]:
        """Keep a part of the hints."""
        return [hint if self.values.chance(HINT_SHARE) else NO_HINT for hint in hints]

    def name_hints(self, tokens: list[int]) -> list[int]:
        """Return, for all that a schema says after a tool's name, the first token of the name."""
        hints, now, opened = [], NO_HINT, self.opened
        for index, token in enumerate(tokens):
            if token == self.tokenizer.ids["</tools>"]:
                break
            if tokens[index - len(opened) : index] == opened:
                now = token
            hints.append(now)
        return hints + [NO_HINT] * (len(tokens) - len(hints))

    def call_hints(self, tokens: list[int]) -> list[int]:
        """Return, for all of a user's message that a call answers, the first token of the call."""
        hints, opened = [NO_HINT] * len(tokens), self.opened
        asked = range(0)
        begin = tokens.index(self.tokenizer.ids["<|im_end|>"])
        for index in range(begin, len(tokens)):
            if tokens[index - len(self.asked) : index] == self.asked:
                end = tokens.index(self.tokenizer.ids["<|im_end|>"], index)
                asked = range(index, end + 1)
            elif tokens[index - len(opened) : index] == opened:
                for place in asked:
                    hints[place] = tokens[index]
                asked = range(0)
        return hints

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        while True:
            pool = sorted((self.sample() for _ in range(POOL)), key=lambda pair: len(pair[0]))
            groups: list[list[Row]] = [[]]
            for pair in pool:
                if groups[-1] and len(pair[0]) * (len(groups[-1]) + 1) > self.size:
                    groups.append([])
                groups[-1].append(pair)
            self.values.rng.shuffle(groups)
            for rows in groups:
                yield pad(rows)


def pad(rows: list[Row]) -> tuple[Tensor, ...]:
    """Stack rows; padding has token 0, weight 0 and no hints."""
    longest = max(len(row[0]) for row in rows)
    longest += -longest % 32
    shape = (len(rows), longest)
    columns = (
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape),
        torch.full(shape, NO_HINT),
        torch.full(shape, NO_HINT),
    )
    for index, row in enumerate(rows):
        for column, part in zip(columns, row, strict=True):
            column[index, : len(part)] = torch.tensor(part)
    return columns
