from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmd.chat.answer.json_stream import JsonStream


def feed(text: str, length: int = 0) -> tuple[JsonStream, str, str | None]:
    """What came of `text`, fed whole or by `length` characters."""
    stream = JsonStream()
    passed = ""
    step = length or len(text) or 1
    for start in range(0, len(text), step):
        more, rest = stream.feed(text[start : start + step])
        passed += more
        if rest is not None:
            return stream, passed, rest + text[start + step :]
    return stream, passed, None


def both_ways(text: str) -> tuple[JsonStream, str, str | None]:
    stream, passed, rest = feed(text)
    other, other_passed, other_rest = feed(text, 1)
    assert (passed, rest) == (other_passed, other_rest)
    assert (stream.is_broken, stream.held, stream.closing()) == (
        other.is_broken,
        other.held,
        other.closing(),
    )
    return stream, passed, rest


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None, max_examples=50)
@given(json_values.map(json.dumps))
def test_valid_json_passes_as_it_is(text: str) -> None:
    stream, passed, rest = both_ways(text + "\n<")
    assert (passed, rest) == (text, "\n<")
    assert stream.is_complete


@settings(deadline=None, max_examples=50)
@given(json_values.map(json.dumps), st.data())
def test_json_cut_anywhere_is_valid_once_closed(text: str, data: st.DataObject) -> None:
    stream, passed, _ = both_ways(text[: data.draw(st.integers(0, len(text)))])
    json.loads(passed + stream.closing())


@settings(deadline=None)
@given(st.text(alphabet="{}[]\",:'\\ \n1-.eutrnlsaf", max_size=40))
def test_whatever_comes_can_be_closed_to_valid_json(text: str) -> None:
    stream, passed, _ = both_ways(text)
    json.loads(passed + stream.closing())


@pytest.mark.parametrize(
    ("written", "passed"),
    [
        ("[True, False, None]", "[true, false, null]"),
        ("{'a': 'it\"s'}", '{"a": "it\\"s"}'),
        ('["a\nb\tc\x01"]', '["a\\nb\\tc\\u0001"]'),
        (r'["it\'s \q"]', r'["it' + "'" + r's \\q"]'),
        (r'["\ud83d\ude00 \ud83d."]', r'["\ud83d\ude00 \ufffd."]'),
        ("[1, 2 , ]", "[1, 2 ]"),
        ('{"a": 1,}', '{"a": 1}'),
        ("[celsius, 01]", '["celsius", "01"]'),
        ("(1, ('a',))", '[1, ["a"]]'),
    ],
)
def test_what_models_get_wrong_is_mended(written: str, passed: str) -> None:
    stream, got, rest = both_ways(written)
    assert (got, rest, stream.is_broken) == (passed, "", False)
    json.loads(got)


@pytest.mark.parametrize("text", ["hello there", "}", "[1 2]", '{"a" 1}', "{1: 2}", ","])
def test_what_is_no_json_breaks_the_stream(text: str) -> None:
    assert both_ways(text)[0].is_broken


def test_a_broken_text_is_given_back_from_where_it_breaks() -> None:
    assert both_ways("maybe not")[1:] == ("", "maybe not")
    assert both_ways('{"a": 1 }} x')[1:] == ('{"a": 1 }', "} x")
    assert both_ways("[1, :]")[1:] == ("[1", ":]")


def test_blanks_in_front_of_the_value_do_not_pass() -> None:
    assert both_ways(" \n {} ")[1:] == ("{}", " ")


def test_a_number_of_its_own_ends_with_the_next_character() -> None:
    stream, passed, rest = both_ways("12")
    assert (passed, rest, stream.held, stream.closing()) == ("", None, "12", "12")
    assert both_ways("12 x")[1:] == ("12", " x")


def test_nothing_came_until_a_value_begins() -> None:
    assert both_ways("  ")[0].is_empty
    assert not both_ways(" 1")[0].is_empty


def test_deep_nesting_is_only_a_longer_text() -> None:
    stream, passed, _ = feed("[" * 100_000)
    assert len(passed) == len(stream.closing()) == 100_000


def test_bare_words_may_be_refused() -> None:
    stream = JsonStream(takes_words=False)
    assert stream.feed("[True, maybe]") == ("[true", "maybe]")
    assert stream.is_broken
