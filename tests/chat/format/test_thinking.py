from __future__ import annotations

from typing import Any

import pytest
from dialects import HERMES_CALLS, OPENS_THINK, THINK, dialect

from llmd.chat.format.sentinels import Sentinels
from llmd.chat.format.thinking import ThinkingControl, find_thinking
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.request import ThinkingWish

MODE = (
    "{%- if thinking_mode == 'disabled' -%}</think>{%- elif thinking_mode == 'enabled' -%}"
    "<think>{%- endif -%}"
)
EFFORT = (
    "{%- if reasoning_effort == 'none' -%}</think>{%- elif reasoning_effort == 'max' -%}"
    "Think hard.{%- elif reasoning_effort == 'low' -%}Be quick.{%- endif -%}"
)
PRINTED = "{{- 'Reasoning: ' + (reasoning_effort or 'medium') -}}"
STRICT = (
    "{%- if reasoning_effort and reasoning_effort not in ['low', 'high'] -%}"
    "{{- raise_exception('bad effort') -}}{%- endif -%}{{- reasoning_effort -}}"
)
BUDGET = "{%- if thinking_budget == 0 -%}</think>{%- else -%}{{- thinking_budget -}}{%- endif -%}"
ONLY_WHEN_ON = "{%- if thinking and reasoning_effort == 'max' -%}Hard.{%- endif -%}"
ONLY_WHEN_ON += "{%- if thinking and reasoning_effort == 'high' -%}Well.{%- endif -%}"
ONLY_WHEN_ON += "{%- if thinking -%}<think>{%- endif -%}"


def control(opened: str) -> ThinkingControl:
    source = dialect(HERMES_CALLS, thought=THINK, opened=opened)
    template = ChatTemplate(source, bos_token="", eos_token="")
    return find_thinking(source, Sentinels(template).whole_prompt)


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        ("", ThinkingControl()),
        (OPENS_THINK, ThinkingControl(flags=("enable_thinking",))),
        (MODE, ThinkingControl(modes=(("thinking_mode", "enabled", "disabled"),))),
        (EFFORT, ThinkingControl(efforts=(("reasoning_effort", ("none", "low", "max")),))),
        (PRINTED, ThinkingControl(efforts=(("reasoning_effort", ("low", "medium", "high")),))),
        (STRICT, ThinkingControl(efforts=(("reasoning_effort", ("low", "high")),))),
        (BUDGET, ThinkingControl(budgets=("thinking_budget",))),
        (
            ONLY_WHEN_ON,
            ThinkingControl(flags=("thinking",), efforts=(("reasoning_effort", ("high", "max")),)),
        ),
    ],
)
def test_variables_are_found_by_trying_them(opened: str, expected: ThinkingControl) -> None:
    assert control(opened) == expected


def test_a_name_that_changes_nothing_is_no_switch() -> None:
    assert control("{%- set x = enable_thinking -%}") == ThinkingControl()


FLAG = ThinkingControl(flags=("enable_thinking",))
LEVELS = ThinkingControl(efforts=(("reasoning_effort", ("none", "low", "high")),))
NO_OFF = ThinkingControl(efforts=(("reasoning_effort", ("low", "medium", "high")),))
TOKENS = ThinkingControl(budgets=("thinking_budget",))
WORDS = ThinkingControl(modes=(("thinking_mode", "enabled", "disabled"),))


@pytest.mark.parametrize(
    ("thinking", "wish", "kwargs"),
    [
        (FLAG, ThinkingWish(), {}),
        (FLAG, ThinkingWish(enabled=True), {"enable_thinking": True}),
        (FLAG, ThinkingWish(enabled=False), {"enable_thinking": False}),
        (FLAG, ThinkingWish(effort="none"), {"enable_thinking": False}),
        (FLAG, ThinkingWish(effort="minimal"), {"enable_thinking": True}),
        (FLAG, ThinkingWish(budget=0), {"enable_thinking": False}),
        (FLAG, ThinkingWish(budget=9), {"enable_thinking": True}),
        (WORDS, ThinkingWish(enabled=False), {"thinking_mode": "disabled"}),
        (LEVELS, ThinkingWish(effort="none"), {"reasoning_effort": "none"}),
        (LEVELS, ThinkingWish(enabled=False, effort="high"), {"reasoning_effort": "none"}),
        (LEVELS, ThinkingWish(effort="minimal"), {"reasoning_effort": "low"}),
        (LEVELS, ThinkingWish(effort="max"), {"reasoning_effort": "high"}),
        (LEVELS, ThinkingWish(effort="enormous"), {}),
        (LEVELS, ThinkingWish(enabled=True), {}),
        (NO_OFF, ThinkingWish(effort="none"), {}),
        (NO_OFF, ThinkingWish(effort="xhigh"), {"reasoning_effort": "high"}),
        (TOKENS, ThinkingWish(budget=512), {"thinking_budget": 512}),
        (TOKENS, ThinkingWish(enabled=False), {"thinking_budget": 0}),
        (ThinkingControl(), ThinkingWish(enabled=False, effort="low", budget=3), {}),
    ],
)
def test_wishes_become_variables(
    thinking: ThinkingControl, wish: ThinkingWish, kwargs: dict[str, Any]
) -> None:
    assert thinking.kwargs(wish) == kwargs
