"""Batches of dialogues for training, drawn as training goes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import corpus
import torch
from drills import NO_HINT, Drills, Row
from tokenizer import LETTERS, Tokenizer
from torch import Tensor
from values import Values

POOL = 256
CHOICE_WEIGHT = 4.0
SPACE = LETTERS[32]


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
        self.described = tokenizer.encode('{"description": "')
        self.titled = tokenizer.encode(' "name": "')
        self.named = [tokenizer.encode(text) for text in ('<tool_call>\n{"name": "', "I call ")]
        self.asked = tokenizer.encode("<|im_start|>user\n")
        self.closed = tokenizer.ids["<|im_end|>"]
        self.words = {
            i
            for i, token in enumerate(tokenizer.tokens)
            if len(token.removeprefix(SPACE)) > 1 and token[-1].isalpha()
        }
        self.quotes = {i for i, token in enumerate(tokenizer.tokens) if token.startswith('"')}

    def sample(self) -> Row:
        """Draw one dialogue, or a drill, that is short enough."""
        while True:
            row = self.drilling.draw() if self.values.chance(self.drills) else self.dialogue()
            if len(row[0]) <= self.longest:
                return row

    def dialogue(self) -> Row:
        """Draw one dialogue: of the mix, or of one of the two kinds that have a share.

        Where it chooses a tool, the first token of the name weighs more.
        """
        roll = self.values.rng.random()
        draw = corpus.draw_dialogue
        if roll < self.copying + self.choices:
            draw = corpus.repetition if roll < self.copying else corpus.tool_series
        tokens, weights = corpus.encode(self.tokenizer, draw(self.values))
        names, calls = self.hints(tokens)
        for index, hint in enumerate(calls):
            if hint != NO_HINT:
                weights[index + 1] *= CHOICE_WEIGHT
        return tokens, weights, names, calls

    def hints(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """Return, for tools' names and for the words before calls, a token of what they are for.

        That is one of the two longest tokens which the tool's description shares with a request
        that calls it, and which no other tool's description holds.
        """
        names: list[int] = [NO_HINT] * len(tokens)
        calls = list(names)
        end = self.tokenizer.ids["</tools>"]
        tools = self.tools(tokens[: tokens.index(end)]) if end in tokens else []
        begin = 0
        for index in range(len(tokens)):
            if tokens[index - len(self.asked) : index] == self.asked:
                begin = index
            named = (tokens[index - len(words) : index] == words for words in self.named)
            if not begin or not any(named):
                continue
            request = set(tokens[begin : tokens.index(self.closed, begin)])
            for span, words in tools:
                name = tokens[span.start : span.stop]
                topic = sorted(words & request & self.words, key=self.length)[-2:]
                if topic and tokens[index : index + len(name)] == name:
                    calls[index - 1] = self.values.rng.choice(topic)
                    for place in span:
                        names[place] = self.values.rng.choice(topic)
        return names, calls

    def length(self, token: int) -> tuple[int, int]:
        """Return how long a token is, to sort by."""
        return len(self.tokenizer.tokens[token]), token

    def tools(self, tokens: list[int]) -> list[tuple[range, set[int]]]:
        """Return where each tool's name stands, and the tokens that only its description holds."""
        found: list[tuple[range, set[int]]] = []
        described = 0
        for index in range(len(tokens)):
            if tokens[index - len(self.described) : index] == self.described:
                described = index
            elif described and tokens[index - len(self.titled) : index] == self.titled:
                stop = next(i for i in range(index, len(tokens)) if tokens[i] in self.quotes)
                found.append((range(index, stop), set(tokens[described:index])))
                described = 0
        return [
            (span, words.difference(*(other for _, other in found if other is not words)))
            for span, words in found
        ]

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
