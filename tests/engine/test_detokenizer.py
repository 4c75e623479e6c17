from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmd.engine.detokenizer import Detokenizer


def test_a_character_split_over_tokens_comes_out_once_when_complete() -> None:
    detokenizer = Detokenizer()
    emoji = "🦙".encode()
    assert [detokenizer.feed(bytes([byte])) for byte in emoji] == ["", "", "", "🦙"]


def test_an_unfinished_character_is_shown_as_a_replacement_at_the_end() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed("é".encode()[:1]) == ""
    assert detokenizer.flush() == "\ufffd"


def test_bytes_that_can_never_be_text_do_not_block_what_follows() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed(b"\xff") + detokenizer.feed(b"ok") == "\ufffdok"


@given(st.binary(max_size=40))
def test_bytes_one_by_one_give_the_text_of_all_at_once(data: bytes) -> None:
    detokenizer = Detokenizer()
    text = "".join(detokenizer.feed(bytes([byte])) for byte in data) + detokenizer.flush()
    assert text == data.decode("utf-8", "replace")
