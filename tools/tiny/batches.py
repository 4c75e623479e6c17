"""Batches of dialogues for training, drawn as training goes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import corpus
import torch
from tokenizer import Tokenizer
from torch import Tensor
from values import Values

POOL = 256

Row = tuple[list[int], list[float]]


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

    def sample(self) -> Row:
        """Draw one dialogue, or a copy drill, that is short enough."""
        while True:
            if self.values.chance(self.drills):
                pair = corpus.draw_drill(self.values, len(self.tokenizer.tokens))
            else:
                plain = self.values.chance(self.copying)
                draw = corpus.repetition if plain else corpus.draw_dialogue
                pair = corpus.encode(self.tokenizer, draw(self.values), self.values.rng)
            if len(pair[0]) <= self.longest:
                return pair

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
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


def pad(rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Stack rows of tokens and weights; padding has token 0 and weight 0."""
    longest = max(len(ids) for ids, _ in rows)
    longest += -longest % 32
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest)
    for index, (ids, weight) in enumerate(rows):
        tokens[index, : len(ids)] = torch.tensor(ids)
        weights[index, : len(ids)] = torch.tensor(weight)
    return tokens, weights
