"""What one rendering of a chat template may use.

A template comes out of a model file that somebody else wrote. The sandbox keeps it away from
Python; this keeps it from hanging the daemon or eating its memory:

    MAX_SECONDS        2 s of the rendering thread's own CPU time
    max_chars          one text or list: 1,000,000 + 8 x the characters of the request
    all texts          64,000,000 + 2,048 x the characters of the request, counting each step of
                       a text that a template builds up
    MAX_NUMBER_BITS    4,096 bits in an integer
    MAX_WIDTH          100,000 for a width, a precision, a range or a number of columns

A real template needs milliseconds and writes little more than it was given.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any

from jinja2.exceptions import TemplateRuntimeError

MAX_SECONDS = 2.0
MAX_NUMBER_BITS = 4096
MAX_WIDTH = 100_000
MIN_CHARS = 1_000_000
CHARS_PER_CHAR_GIVEN = 8
MIN_CHARS_MADE = 64_000_000
CHARS_MADE_PER_CHAR_GIVEN = 2048
STEPS_BETWEEN_CLOCK_READS = 64


class BudgetExceeded(TemplateRuntimeError):
    """The template wants more than one rendering may use."""


class RenderBudget:
    """Counts down while one template renders; belongs to the rendering thread.

    `num_chars_given` is the size of the request's texts.
    """

    def __init__(self, num_chars_given: int = 0, *, max_seconds: float = MAX_SECONDS) -> None:
        self.max_chars = MIN_CHARS + CHARS_PER_CHAR_GIVEN * num_chars_given
        self._num_chars_left = MIN_CHARS_MADE + CHARS_MADE_PER_CHAR_GIVEN * num_chars_given
        self._num_steps = 0
        self._max_seconds = max_seconds
        self._started = time.thread_time()
        self._deadline = self._started + max_seconds

    @property
    def seconds_spent(self) -> float:
        """So far, of the rendering thread's CPU time."""
        return time.thread_time() - self._started

    def step(self) -> None:
        """Counts one loop pass or call; raises BudgetExceeded when the time is over."""
        self._num_steps += 1
        if self._num_steps % STEPS_BETWEEN_CLOCK_READS == 0:
            if time.thread_time() > self._deadline:
                raise BudgetExceeded(f"it runs for more than {self._max_seconds:g} seconds")

    def hold(self, num_chars: int) -> None:
        """Call before a text of `num_chars` characters, or a list of as many items, is made."""
        self._num_chars_left -= num_chars
        if num_chars > self.max_chars or self._num_chars_left < 0:
            raise BudgetExceeded(f"it writes a text of more than {self.max_chars} characters")

    def weigh(self, value: object) -> int:
        """Characters that `value` would print as, roughly; raises where they are too many.

        A list that holds itself or many times the same list prints without end though it is small.
        """
        if isinstance(value, str):
            return len(value)
        num_chars = 0
        waiting: list[Any] = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                num_chars += len(item) + 2
            elif isinstance(item, dict):
                num_chars += 2
                waiting.extend(item)
                waiting.extend(item.values())
            elif isinstance(item, list | tuple | set | frozenset):
                num_chars += 2
                waiting.extend(item)
            else:
                num_chars += 4
            if num_chars > self.max_chars:
                self.hold(num_chars)
        return num_chars


_current: ContextVar[RenderBudget | None] = ContextVar("render_budget", default=None)


def current_budget() -> RenderBudget:
    """The budget of the rendering under way in this thread, or a fresh one outside of any."""
    return _current.get() or RenderBudget()


class spending:
    """`with spending(budget):` makes it the current budget."""

    def __init__(self, budget: RenderBudget) -> None:
        self._budget = budget

    def __enter__(self) -> RenderBudget:
        self._token = _current.set(self._budget)
        return self._budget

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
