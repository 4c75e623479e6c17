from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmd.engine.stop import StopMatcher


def run(stop: tuple[str, ...], pieces: list[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stop)
    text = "".join(matcher.feed(piece) for piece in pieces)
    return text + matcher.flush(), matcher.matched


def test_text_without_a_stop_string_passes_unchanged() -> None:
    assert run(("END",), ["ab", "E", "N", "c"]) == ("abENc", None)


def test_a_stop_string_split_over_four_pieces_is_found() -> None:
    assert run(("STOP",), ["go S", "T", "O", "P", " more"]) == ("go ", "STOP")


def test_what_may_become_a_stop_string_is_held_back() -> None:
    matcher = StopMatcher(("\n\nUser:",))
    assert matcher.feed("Hi\n") == "Hi"
    assert matcher.feed("\nUse") == ""
    assert matcher.feed("ful") == "\n\nUseful"


def test_nothing_passes_after_the_stop_string() -> None:
    matcher = StopMatcher(("x",))
    assert matcher.feed("axb") == "a"
    assert matcher.feed("c") == ""
    assert matcher.flush() == ""


def test_the_stop_string_that_is_complete_first_wins() -> None:
    assert run(("bcd", "c"), ["abcd"]) == ("ab", "c")


def test_overlapping_starts_are_held_back() -> None:
    assert run(("aab",), ["aaab"]) == ("a", "aab")


@given(
    text=st.text(alphabet="abc", max_size=30),
    stop=st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3),
    data=st.data(),
)
def test_the_result_does_not_depend_on_how_the_text_is_cut(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert run(tuple(stop), pieces) == run(tuple(stop), list(text)) == run(tuple(stop), [text])
