from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.engine.thought import ThoughtLimits, ThoughtMeter

CLOSING = (1, 2)


def meter_of(**fields: Any) -> ThoughtMeter:
    values: dict[str, Any] = {"open": "<t>", "close": "</t>", "closing": CLOSING, **fields}
    return ThoughtMeter(ThoughtLimits(**values))


def count(tokens: list[str], **fields: Any) -> int:
    meter = meter_of(**fields)
    for token in tokens:
        meter.feed(token.encode())
    return meter.num_tokens


def closed_after(tokens: list[str], **fields: Any) -> list[int]:
    """After how many of these tokens the meter asks for the end."""
    meter = meter_of(**fields)
    asked = [0] if meter.wants_to_close else []
    for number, token in enumerate(tokens, start=1):
        meter.feed(token.encode("utf-8", "surrogateescape"))
        if meter.wants_to_close:
            asked.append(number)
    return asked


@pytest.mark.parametrize(
    ("tokens", "number"),
    [
        ([], 0),
        (["a", "b"], 0),
        (["<t>", "a", "b", "</t>", "c"], 2),
        (["<", "t", ">", "a", "b", "</", "t", ">", "c"], 2),
        (["x<", "t>a", "b</", "t>c"], 2),
        (["<t>a</t>"], 1),
        (["<t>a</t>b<t>c</t>"], 1),
        (["<t>", "a</t>b<t>", "c</t>"], 2),
        (["<t>", "</t>"], 0),
        (["<t></", "t>"], 0),
        (["<t>", "a", "<", "/", "x", "</t>"], 4),
        (["<t>", "<t>", "</t>"], 1),
        (["</t>", "a"], 0),
        (["<t>", "", "a", "</t>"], 2),
    ],
)
def test_tokens_that_hold_some_of_a_thought_count(tokens: list[str], number: int) -> None:
    assert count(tokens) == number


def test_a_prompt_may_have_opened_the_thought() -> None:
    assert count(["a", "b", "</t>", "c"], is_open=True) == 2


def test_what_may_become_a_closer_counts_until_it_is_one() -> None:
    assert count(["a", "</", "t"], is_open=True) == 3
    assert count(["a", "</", "t", ">"], is_open=True) == 1


def test_without_an_opener_only_the_prompt_opens_a_thought() -> None:
    assert count(["a", "</t>", "<t>", "b"], open="", is_open=True) == 1


def test_other_texts_may_end_a_thought() -> None:
    assert count(["<t>", "a", "<call>", "b", "c"], ends=("<call>",)) == 1


def expected(tokens: list[str], is_open: bool) -> int:
    """The same, counted slowly from the whole text."""
    text = "".join(tokens)
    inside: set[int] = set()
    position = 0
    while position < len(text):
        marker = "</t>" if is_open else "<t>"
        end = text.find(marker, position)
        if is_open:
            inside.update(range(position, end if end >= 0 else len(text)))
        if end < 0:
            break
        position, is_open = end + len(marker), not is_open
    number = start = 0
    for token in tokens:
        number += not inside.isdisjoint(range(start, start + len(token)))
        start += len(token)
    return number


@given(
    tokens=st.lists(
        st.lists(st.sampled_from(["<t>", "</t>", *"<t/>a"]), min_size=1, max_size=4).map("".join),
        max_size=12,
    ),
    is_open=st.booleans(),
)
def test_counting_is_exact_whichever_way_the_text_is_cut(tokens: list[str], is_open: bool) -> None:
    assert count(tokens, is_open=is_open) == expected(tokens, is_open)


def test_a_thought_ends_when_its_budget_is_used_up() -> None:
    assert closed_after(["<t>", "a", "b", "c", "d"], budget=3) == [4, 5]


def test_the_budget_is_for_all_thoughts_together() -> None:
    tokens = ["<t>", "a", "</t>", "x", "y", "z", "<t>", "b"]
    assert closed_after(tokens, budget=2) == [8]


def test_no_budget_never_ends_a_thought() -> None:
    assert closed_after(["a"] * 99, is_open=True) == []


def test_nothing_spent_ends_a_thought_that_the_prompt_opened_before_its_first_token() -> None:
    assert closed_after([], budget=0, is_open=True) == [0]


def test_nothing_spent_ends_a_thought_as_the_model_opens_it() -> None:
    assert closed_after(["a", "<", "t>"], budget=0) == [3]


def test_the_end_waits_for_the_end_of_a_character() -> None:
    halves = [bytes([byte]).decode("utf-8", "surrogateescape") for byte in "é".encode()]
    assert closed_after(["a", *halves], budget=2, is_open=True) == [3]


def test_the_end_waits_for_a_closer_that_the_model_has_begun() -> None:
    assert closed_after(["a", "</", "t", ">", "b"], budget=2, is_open=True) == []


def test_the_end_does_not_wait_for_closers_that_never_come() -> None:
    tokens = ["<"] * 20
    assert closed_after(tokens, budget=2, is_open=True)[0] == 2 + len("</t>")


def test_without_closing_tokens_nothing_can_be_ended() -> None:
    assert closed_after(["a"] * 5, budget=1, is_open=True, closing=()) == []


def test_what_closes_a_thought_counts_as_none_of_it() -> None:
    meter = meter_of(budget=1, is_open=True)
    for token in ("a", "</t>", "\n", "b"):
        if meter.wants_to_close:
            meter.close()
        meter.feed(token.encode())
    assert meter.num_tokens == 1
    assert not meter.wants_to_close
