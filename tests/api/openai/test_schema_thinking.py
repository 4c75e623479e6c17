"""The several ways in which clients speak of thinking."""

from __future__ import annotations

from typing import Any

import pytest

from llmd.api.openai.schema_thinking import ThinkingFields
from llmd.core.request import ThinkingWish


def wish(**fields: Any) -> ThinkingWish:
    return ThinkingFields.model_validate(fields).thinking_wish()


def test_silence_leaves_it_to_the_template() -> None:
    assert wish() == ThinkingWish()


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_effort": "none"},
        {"reasoning": {"effort": "none"}},
        {"reasoning": {"enabled": False}},
        {"thinking": {"type": "disabled"}},
        {"enable_thinking": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "high", "enable_thinking": False},
    ],
)
def test_off(fields: dict[str, Any]) -> None:
    assert wish(**fields).enabled is False


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning": {"enabled": True}},
        {"thinking": {"type": "enabled"}},
        {"enable_thinking": True},
        {"chat_template_kwargs": {"enable_thinking": True}},
    ],
)
def test_on(fields: dict[str, Any]) -> None:
    assert wish(**fields).enabled is True


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh"])
@pytest.mark.parametrize("form", ["reasoning_effort", "reasoning"])
def test_an_effort_switches_nothing_off(form: str, effort: str) -> None:
    fields = {form: effort if form == "reasoning_effort" else {"effort": effort}}
    assert wish(**fields) == ThinkingWish(effort=effort)


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 64}},
        {"reasoning": {"max_tokens": 64}},
        {"thinking_budget": 64},
        {"thinking_budget_tokens": 64},
        {"reasoning_budget_tokens": 64},
    ],
)
def test_a_budget(fields: dict[str, Any]) -> None:
    assert wish(**fields).budget == 64


def test_a_budget_of_minus_one_is_none() -> None:
    assert wish(thinking_budget=-1).budget is None


@pytest.mark.parametrize(("form", "splits"), [("none", False), ("auto", True), ("deepseek", True)])
def test_reasoning_format(form: str, splits: bool) -> None:
    assert ThinkingFields.model_validate({"reasoning_format": form}).splits_thoughts is splits
