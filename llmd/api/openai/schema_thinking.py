"""What a request says about thinking, in the several ways that clients say it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from llmd.api.json_body import JsonModel
from llmd.core.request import ThinkingWish

TokenBudget = Annotated[int, Field(ge=-1, le=1 << 30)]
"""Most tokens of thought; -1 is no limit."""


class Reasoning(JsonModel):
    """The `reasoning` object of the Responses API and of routers."""

    effort: str | None = None
    enabled: bool | None = None
    max_tokens: TokenBudget | None = None


class Thinking(JsonModel):
    """The `thinking` object of the Anthropic API."""

    type: Literal["enabled", "disabled", "adaptive"] = "enabled"
    budget_tokens: TokenBudget | None = None


class ThinkingFields(JsonModel):
    """Mixed into chat requests. What says off wins over an effort or a budget."""

    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    thinking: Thinking | None = None
    enable_thinking: bool | None = None
    thinking_budget: TokenBudget | None = None
    thinking_budget_tokens: TokenBudget | None = None
    reasoning_budget_tokens: TokenBudget | None = None
    reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] = "auto"
    chat_template_kwargs: dict[str, Any] = {}

    @property
    def splits_thoughts(self) -> bool:
        """Whether thoughts go into reasoning_content."""
        return self.reasoning_format != "none"

    def thinking_wish(self) -> ThinkingWish:
        effort = self.reasoning_effort or (self.reasoning.effort if self.reasoning else None)
        return ThinkingWish(enabled=self._enabled(effort), effort=effort, budget=self._budget())

    def _enabled(self, effort: str | None) -> bool | None:
        said = [self.enable_thinking]
        if self.reasoning is not None:
            said.append(self.reasoning.enabled)
        if self.thinking is not None and self.thinking.type != "adaptive":
            said.append(self.thinking.type == "enabled")
        wish = self.chat_template_kwargs.get("enable_thinking")
        if isinstance(wish, bool):
            said.append(wish)
        if effort == "none" or False in said:
            return False
        return True if True in said else None

    def _budget(self) -> int | None:
        budgets = (
            self.thinking.budget_tokens if self.thinking else None,
            self.reasoning.max_tokens if self.reasoning else None,
            self.thinking_budget,
            self.thinking_budget_tokens,
            self.reasoning_budget_tokens,
        )
        return next((each for each in budgets if each is not None and each >= 0), None)
