from __future__ import annotations

import pytest

from llmd.chat.prompt.budget import BudgetExceeded, RenderBudget, current_budget, spending


def test_the_limit_grows_with_the_request() -> None:
    assert RenderBudget(10_000).max_chars == 1_080_000


def test_one_text_over_the_limit_is_refused() -> None:
    budget = RenderBudget()
    budget.hold(1_000_000)
    with pytest.raises(BudgetExceeded, match="1000000 characters"):
        budget.hold(1_000_001)


def test_all_texts_together_are_limited() -> None:
    budget = RenderBudget()
    with pytest.raises(BudgetExceeded):
        for _ in range(65):
            budget.hold(1_000_000)


def test_steps_end_with_the_time() -> None:
    budget = RenderBudget(max_seconds=0)
    with pytest.raises(BudgetExceeded, match="more than 0 seconds"):
        for _ in range(64):
            budget.step()


def test_weighing_counts_what_shared_lists_print_as() -> None:
    shared = ["abcd"]
    assert RenderBudget().weigh([shared, shared]) == 2 + 2 * (2 + 6)


def test_spending_ends_with_its_block() -> None:
    with spending(RenderBudget()) as budget:
        assert current_budget() is budget
    assert current_budget() is not budget
