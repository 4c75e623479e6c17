"""How many prompt tokens a step may hold, so that those who generate do not wait for it.

A step's length is the gap between two tokens that a reader sees. It is taken as the time of its
decodes, which steps without prompt tokens show, plus a time per prompt token. The latter is what
the last such steps took longer than decodes alone, for each of their tokens; so whatever is wrong
with the first, or with the straight line (weights are read once for both, attention grows with the
position), the number of tokens settles where a step takes as long as it should.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from statistics import median, median_low

MIN_PROMPT_SHARE = 0.25
"""Of the time of a step: prompts get this much even where decodes leave less of the target. So a
prompt beside others takes about 4 times as long as alone at most (if a token costs as much in a
small chunk as in a large one), and steps take at most 4/3 of the time of their decodes, where that
is more than the target."""

FIRST_PROMPT_TOKENS = 8
"""The guess while nothing is known of what they cost."""

MAX_GROWTH = 2
"""A step holds at most so many times the prompt tokens of those that the estimate rests on."""

NUM_SAMPLES = 5
"""An estimate is the median of the last so many steps: two of them may be off in any way, such as a
first step that warms up, and a lasting change is believed after three."""

NUM_DECODE_SAMPLES = 4
"""Steps without prompt tokens that must be known for a number of decodes, ..."""

MAX_AGE = 128
"""... from among so many last steps. Where prompts leave none, they are asked for: 4 in 128."""

SURPRISE = 1.25
"""Times longer or shorter than expected, ..."""

NUM_SURPRISES = 3
"""... and so often in a row: then the machine has changed, and decodes are measured anew, ..."""

MIN_CALM = 32
"""... but not again before so many steps, as on some machines no step is like the last."""

_MIN_SECONDS_PER_TOKEN = 1e-9


@dataclass(frozen=True, slots=True)
class _DecodeStep:
    number: int
    num_generating: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _PromptStep:
    num_tokens: int
    seconds_per_token: float


class Pacer:
    """Learns what steps cost on this machine, now. Engine thread only."""

    def __init__(self, max_step_tokens: int, max_gap_seconds: float) -> None:
        """`max_step_tokens` is the most tokens of one step, more than ever generate together. Steps
        are to take `max_gap_seconds`, about half of them a little more; 0 is no target.
        """
        assert max_gap_seconds >= 0
        self._max_step_tokens = max_step_tokens
        self._max_gap_seconds = max_gap_seconds
        self._num_steps = 0
        self._decode_steps: deque[_DecodeStep] = deque(maxlen=MAX_AGE)
        self._prompt_steps: deque[_PromptStep] = deque(maxlen=NUM_SAMPLES)
        self._lone_prompt_steps: deque[_PromptStep] = deque(maxlen=NUM_SAMPLES)
        self._num_surprises = 0
        self._forgot_at = -MIN_CALM

    def prompt_budget(self, num_generating: int) -> int:
        """How many prompt tokens the next step may hold beside `num_generating` decodes, one token
        each: all that fit when nobody generates, else as many as there is time for, at least one
        (if it fits). But 0 for the few steps that are to show what decodes alone take: those are
        asked for until they come.
        """
        num_fitting = self._max_step_tokens - num_generating
        if num_generating == 0 or self._max_gap_seconds == 0:
            return num_fitting
        samples = self._decode_samples(num_generating)
        if len(samples) < NUM_DECODE_SAMPLES:
            return 0
        return min(self._budget(median(samples)), num_fitting)

    def observe(self, num_generating: int, num_prompt_tokens: int, seconds: float) -> None:
        """Learn from a step: what it held, and the time from its start to the next one's."""
        self._num_steps += 1
        if num_prompt_tokens == 0:
            self._decode_steps.append(_DecodeStep(self._num_steps, num_generating, seconds))
            return
        samples = self._decode_samples(num_generating) if num_generating else []
        decode_seconds = median(samples) if samples else 0.0
        known = self._known_prompt_steps()
        if samples and known:
            self._compare(decode_seconds + num_prompt_tokens * _seconds_per_token(known), seconds)
        # The time of a few tokens is lost in the noise of the rest of the step.
        if known and num_prompt_tokens * 4 < self._budget(decode_seconds):
            return
        per_token = (seconds - decode_seconds) / num_prompt_tokens
        steps = self._prompt_steps if num_generating else self._lone_prompt_steps
        steps.append(_PromptStep(num_prompt_tokens, per_token))

    def _compare(self, expected_seconds: float, seconds: float) -> None:
        is_surprise = max(expected_seconds, seconds) > SURPRISE * min(expected_seconds, seconds)
        self._num_surprises = self._num_surprises + 1 if is_surprise else 0
        is_calm = self._num_steps - self._forgot_at >= MIN_CALM
        if self._num_surprises >= NUM_SURPRISES and is_calm:
            self._decode_steps.clear()
            self._num_surprises, self._forgot_at = 0, self._num_steps

    def _decode_samples(self, num_generating: int) -> list[float]:
        """Seconds that the last steps without prompt tokens would have taken with
        `num_generating` decodes; half to twice as many are near enough. What a decode adds lies
        between nothing, where reading the weights takes all the time, and as much as the first
        one takes; the square root is as far from both.
        """
        samples = (
            step.seconds * sqrt(num_generating / step.num_generating)
            for step in reversed(self._decode_steps)
            if self._num_steps - step.number < MAX_AGE
            and step.num_generating <= 2 * num_generating <= 4 * step.num_generating
        )
        return list(islice(samples, NUM_SAMPLES))

    def _known_prompt_steps(self) -> deque[_PromptStep]:
        """Large chunks alone are cheaper by the token than small ones beside decodes, so they are
        asked only as long as nothing else is known.
        """
        return self._prompt_steps or self._lone_prompt_steps

    def _budget(self, decode_seconds: float) -> int:
        steps = self._known_prompt_steps()
        if not steps:
            return FIRST_PROMPT_TOKENS
        most_seconds = max(
            self._max_gap_seconds - decode_seconds,
            decode_seconds * MIN_PROMPT_SHARE / (1 - MIN_PROMPT_SHARE),
        )
        most_tokens = MAX_GROWTH * max(step.num_tokens for step in steps)
        # A floor of more than one token would be one of time, and attention makes a token of a long
        # prompt cost many times what the first ones did: 8 of them took 400 ms of a target of 250.
        return max(1, min(int(most_seconds / _seconds_per_token(steps)), most_tokens))


def _seconds_per_token(steps: Iterable[_PromptStep]) -> float:
    """The median, or more where both of the last two took more: a gap that is too long hurts, a
    chunk that is too small hardly does.
    """
    samples = [step.seconds_per_token for step in steps]
    return max(median_low(samples), min(samples[-2:]), _MIN_SECONDS_PER_TOKEN)
