from __future__ import annotations

import pytest

from llmd.chat.format.literal_cuts import (
    common_prefix,
    common_suffix,
    counterpart,
    thought_closer,
    thought_tags,
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("</call><more>", "</call></calls>", "</call>"),
        ("</call_a>", "</call_b>", ""),
        ("word one", "word two", "word "),
        ("wording", "words", ""),
        ("\n\n", "\n", ""),
        ("same", "same", "same"),
        ("[END]a", "[ENDS]", ""),
    ],
)
def test_prefixes_end_between_markers_and_words(first: str, second: str, expected: str) -> None:
    assert common_prefix(first, second) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("<calls><call>", "</call><call>", "<call>"),
        (">\n<p=", "</p>\n<p=", "\n<p="),
        ('true">', 'false">', '">'),
        ('"><arg name="', '"/><arg name="', '<arg name="'),
        ("a\n ", "b\n ", ""),
    ],
)
def test_suffixes_begin_between_markers_and_words(first: str, second: str, expected: str) -> None:
    assert common_suffix(first, second) == expected


@pytest.mark.parametrize(
    ("marker", "closer"),
    [
        ("<think>", "</think>"),
        ("[THINK]", "[/THINK]"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|inner_prefix|>", "<|inner_suffix|>"),
        ("<|open|>think", "<|close|>think"),
    ],
)
def test_counterparts(marker: str, closer: str) -> None:
    assert counterpart(marker, f"a {closer} b") == closer
    assert counterpart(marker, marker) is None


def test_thought_tags_are_the_first_that_are_closed() -> None:
    assert thought_tags("<rethink> <|thought_start|> <|thought_end|>") == (
        "<|thought_start|>",
        "<|thought_end|>",
    )
    assert thought_tags("<think> and <b></b>") is None


def test_the_closer_of_a_thought_may_be_guessed() -> None:
    assert thought_closer("<think>", "") == "</think>"
    assert thought_closer("<bot>", "</bot>") is None
