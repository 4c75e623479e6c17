"""Batches of dialogues for training, drawn as training goes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import corpus
import torch
from drills import Drills, Row
from guides import CHOSEN, NUM_KINDS
from tokenizer import Tokenizer
from torch import Tensor
from tracing import Tracer
from values import Values

POOL = 256
CHOICE_WEIGHT = 3.0


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
        choices: float,
    ) -> None:
        self.tokenizer, self.size, self.longest = tokenizer, size, longest
        self.drills, self.copying, self.choices = drills, copying, choices
        self.values = Values(random.Random(seed))
        self.drilling = Drills(tokenizer, self.values.rng)
        self.tracer = Tracer(tokenizer)

    def sample(self) -> Row:
        """Draw one dialogue, or a drill, that is short enough."""
        while True:
            row = self.drilling.draw() if self.values.chance(self.drills) else self.dialogue()
            if len(row[0]) <= self.longest:
                return row

    def dialogue(self) -> Row:
        """Draw one dialogue: of the mix, or of one of the two kinds that have a share.

        Where a name, an argument or a key begins, its first token weighs more.
        """
        roll = self.values.rng.random()
        draw = corpus.draw_dialogue
        if roll < self.copying + self.choices:
            draw = corpus.repetition if roll < self.copying else corpus.tool_series
        tokens, weights = corpus.encode(self.tokenizer, draw(self.values))
        guides = self.tracer.trace(tokens, weights)
        for guide in guides:
            if guide.kind == CHOSEN:
                weights[guide.place + 1] = CHOICE_WEIGHT
        return tokens, weights, guides

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
    """Stack rows' tokens and weights; padding has token 0 and weight 0.

    For each kind of guide follow rows [n], places [n] and targets [n, time].
    """
    longest = max(len(row[0]) for row in rows)
    longest += -longest % 32
    tokens = torch.zeros((len(rows), longest), dtype=torch.long)
    weights = torch.zeros((len(rows), longest))
    for index, row in enumerate(rows):
        tokens[index, : len(row[0])] = torch.tensor(row[0])
        weights[index, : len(row[1])] = torch.tensor(row[1])
    guided: list[Tensor] = []
    for kind in range(NUM_KINDS):
        found = [(i, g) for i, row in enumerate(rows) for g in row[2] if g.kind == kind]
        targets = torch.zeros((len(found), longest), dtype=torch.bool)
        for number, (_, guide) in enumerate(found):
            targets[number, list(guide.targets)] = True
        guided += [
            torch.tensor([i for i, _ in found], dtype=torch.long),
            torch.tensor([guide.place for _, guide in found], dtype=torch.long),
            targets,
        ]
    return tokens, weights, *guided
