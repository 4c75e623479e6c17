"""Whether two runs of a greedy request said the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from llmd.core.output import TokenLogprob

ROUNDING = 2e-3
"""Between batches of different shapes, logprobs of the tiny models move by less (f32 caches, no
flash attention); a foreign token in the memory moves them by more than 0.1."""

TIE = 1e-4
"""Rivals this close may be taken for each other: of some 6,000 tokens in the suite, one in a few
runs or machines is that close."""


def assert_same_answer(first: Sequence[TokenLogprob], second: Sequence[TokenLogprob]) -> None:
    """Both hold two rivals at least for each token. What follows a tie is not compared."""
    for ours, theirs in zip_longest(first, second):
        assert ours is not None and theirs is not None, "one answer is longer"
        if ours.chosen.text != theirs.chosen.text:
            best, rival = (candidate.logprob for candidate in theirs.top[:2])
            assert best - rival < TIE, (ours.chosen, theirs.chosen)
            return
        assert abs(ours.chosen.logprob - theirs.chosen.logprob) < ROUNDING, ours.chosen
