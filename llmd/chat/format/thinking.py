"""How a template lets thinking be switched, and how much of it: found by trying its variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmd.core.request import ThinkingWish

Render = Callable[[Mapping[str, Any]], str | None]
"""The prompt with these keyword arguments, None where the template refuses them."""

LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_FLAGS = ("enable_thinking", "thinking", "enable_reasoning", "reasoning")
_MODES = ("thinking_mode", "reasoning_mode")
_MODE_WORDS = (("enabled", "disabled"), ("thinking", "chat"), ("think", "no_think"), ("on", "off"))
_EFFORTS = ("reasoning_effort", "thinking_effort", "reasoning_strength", "effort")
_BUDGETS = ("thinking_budget", "reasoning_budget")
_USUAL_LEVELS = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class ThinkingControl:
    """The variables of a template that say how its model thinks; empty where it has none.

    `modes` has the words for on and off by variable, `efforts` the levels by variable, weakest
    first; `budgets` take a number of tokens, 0 for no thinking.
    """

    flags: tuple[str, ...] = ()
    modes: tuple[tuple[str, str, str], ...] = ()
    efforts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    budgets: tuple[str, ...] = ()

    def kwargs(self, wish: ThinkingWish) -> dict[str, Any]:
        """The template's variables for `wish`: only those that it has, none that `wish` leaves
        open. An effort that the template does not know becomes the nearest one that it does.
        """
        kwargs: dict[str, Any] = {}
        is_on = _is_on(wish)
        if is_on is not None:
            kwargs.update(dict.fromkeys(self.flags, is_on))
            kwargs.update((name, on if is_on else off) for name, on, off in self.modes)
        for name, levels in self.efforts:
            if is_on is False and "none" in levels:
                kwargs[name] = "none"
            elif is_on is not False and wish.effort is not None:
                kwargs[name] = _nearest(wish.effort, levels)
        for name in self.budgets:
            if is_on is False:
                kwargs[name] = 0
            elif wish.budget is not None:
                kwargs[name] = wish.budget
        return {name: value for name, value in kwargs.items() if value is not None}


def find_thinking(source: str, render: Render) -> ThinkingControl:
    """Tries each of the usual names that stands in the template's `source`."""
    trial = _Trial(source, render)
    flags = tuple(name for name in _FLAGS if trial.differs(name, True, False))
    modes = {
        name: (name, on, off)
        for name in _MODES
        for on, off in reversed(_MODE_WORDS)
        if {on, off} & trial.names and trial.differs(name, on, off)
    }
    # Where thinking is off, an effort has no effect.
    trial.kwargs.update(dict.fromkeys(flags, True))
    trial.kwargs.update((name, on) for name, on, _ in modes.values())
    efforts = ((name, trial.levels(name)) for name in _EFFORTS if name not in flags)
    return ThinkingControl(
        flags=flags,
        modes=tuple(modes.values()),
        efforts=tuple((name, levels) for name, levels in efforts if levels),
        budgets=tuple(name for name in _BUDGETS if trial.differs(name, 0, 512)),
    )


class _Trial:
    def __init__(self, source: str, render: Render) -> None:
        self._source = source
        self._render = render
        self.names = set(re.findall(r"\w+", source))
        self.kwargs: dict[str, Any] = {}

    def differs(self, name: str, *values: Any) -> bool:
        """Whether the prompts with these values of `name` differ, and all of them are there."""
        if name not in self.names:
            return False
        texts = [self._text(name, value) for value in values]
        return None not in texts and len(set(texts)) > 1

    def levels(self, name: str) -> tuple[str, ...]:
        """The levels of effort that `name` takes; empty where they make no difference."""
        if name not in self.names:
            return ()
        known = [w for w in LEVELS if re.search(rf"""["']{w}["']""", self._source)]
        if len(set(known) - {"none"}) < 2:
            # The template prints whatever it is given.
            known += _USUAL_LEVELS
        taken = [w for w in LEVELS if w in known and self._text(name, w) is not None]
        return tuple(taken) if self.differs(name, *taken) else ()

    def _text(self, name: str, value: Any) -> str | None:
        return self._render({**self.kwargs, name: value})


def _is_on(wish: ThinkingWish) -> bool | None:
    """Whether thinking is wanted; None where the template may decide. A minimal effort is one."""
    if wish.enabled is not None:
        return wish.enabled
    if wish.effort is not None:
        return wish.effort != "none"
    return None if wish.budget is None else wish.budget > 0


def _nearest(effort: str, levels: tuple[str, ...]) -> str | None:
    known = [level for level in levels if level != "none"]
    if effort in known or effort not in LEVELS or not known:
        return effort if effort in known else None
    place = LEVELS.index(effort)
    return min(known, key=lambda level: (abs(LEVELS.index(level) - place), LEVELS.index(level)))
