from __future__ import annotations

import pytest

from llmd.chat.answer.markers import find_first, first_characters, num_held

MARKERS = ("<call>", "<call", "</think>")


def test_the_earliest_marker_is_found() -> None:
    assert find_first("a</think>b<call>", MARKERS) == (1, "</think>")


def test_of_two_at_one_place_the_longer_is_found() -> None:
    assert find_first("a<call>", MARKERS) == (1, "<call>")


def test_a_marker_that_may_become_a_longer_one_is_not_found_yet() -> None:
    assert find_first("a<call", MARKERS) is None
    assert num_held("a<call", MARKERS) == len("<call")


def test_it_is_found_once_the_text_is_over() -> None:
    assert find_first("a<call", MARKERS, is_over=True) == (1, "<call")


def test_it_is_found_once_the_text_goes_on_otherwise() -> None:
    assert find_first("a<call ", MARKERS) == (1, "<call")


@pytest.mark.parametrize(
    ("text", "held"), [("", 0), ("abc", 0), ("a<", 1), ("a</thin", 6), ("<<", 1), ("<call>", 0)]
)
def test_held_is_the_longest_tail_that_begins_a_marker(text: str, held: int) -> None:
    assert num_held(text, MARKERS) == held


def test_without_markers_nothing_is_found_or_held() -> None:
    assert find_first("abc", ()) is None
    assert num_held("abc", ("",)) == 0
    assert not first_characters(("",)).search("abc")


def test_first_characters_tell_plain_text() -> None:
    assert not first_characters(MARKERS).search("plain > text")
    assert first_characters(MARKERS).search("a < b")
