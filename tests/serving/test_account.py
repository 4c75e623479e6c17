from __future__ import annotations

import pytest

from llmd.core.event import Finished
from llmd.core.output import FinishReason, Output, Timings
from llmd.serving.account import RequestAccount


def finished(prompt_ms: float) -> Finished:
    timings = Timings(
        num_cached=0, num_prompt=1, prompt_ms=prompt_ms, num_generated=1, generated_ms=0
    )
    return Finished(0, FinishReason.STOP, timings)


def piece(num_tokens: int, index: int = 0) -> Output:
    return Output(request_id="a", index=index, text="x", num_tokens=num_tokens)


@pytest.mark.parametrize(("first_token_at", "expected"), [(12.0, 1.75), (10.1, 0.0)])
def test_the_queue_is_what_came_before_the_prompt_was_read(
    first_token_at: float, expected: float
) -> None:
    account = RequestAccount("a")
    account.begin("b", 1)
    account.submitted_at, account.first_token_at = 10.0, first_token_at
    account.finish(finished(prompt_ms=250), is_first_choice=True)
    assert account.queue_seconds == expected


def test_of_an_answer_without_a_token_no_queue_is_known() -> None:
    account = RequestAccount("a")
    account.begin("b", 1)
    account.finish(finished(prompt_ms=0), is_first_choice=True)
    assert account.queue_seconds is None


def test_only_what_brings_tokens_ends_a_gap() -> None:
    account = RequestAccount("a")
    account.begin("b", 1)
    for num_tokens in (0, 1, 0, 2, 1):
        account.note(piece(num_tokens))
    account.note(piece(1, index=1))
    assert sum(account.gaps.counts) == 2
    assert account.num_generated == 5
