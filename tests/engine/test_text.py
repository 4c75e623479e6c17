from __future__ import annotations

from llmd.core.output import Candidate, TokenLogprob
from llmd.engine.text import TextStream


def logprob(text: bytes) -> TokenLogprob:
    return TokenLogprob(Candidate(0, text, -1.0), ())


def texts(stream: TextStream) -> list[bytes]:
    return [each.chosen.text for each in stream.take_logprobs()]


def test_logprobs_come_out_with_the_text_of_their_token() -> None:
    stream = TextStream(("END",))
    assert stream.feed(b"a", logprob(b"a")) == "a"
    assert texts(stream) == [b"a"]
    assert stream.feed(b"E", logprob(b"E")) == ""
    assert texts(stream) == []
    assert stream.feed(b"x", logprob(b"x")) == "Ex"
    assert texts(stream) == [b"E", b"x"]


def test_tokens_of_a_stop_string_have_no_logprobs() -> None:
    stream = TextStream(("END",))
    stream.feed(b"a", logprob(b"a"))
    stream.feed(b"EN", logprob(b"EN"))
    stream.feed(b"D", logprob(b"D"))
    assert texts(stream) == [b"a"]
    assert stream.stop_text == "END"


def test_a_stop_string_inside_a_multibyte_character_is_not_found() -> None:
    stream = TextStream(("\u00a9",))
    assert stream.feed("é".encode()[:1]) + stream.feed("é".encode()[1:]) == "é"
    assert stream.stop_text is None


def test_flush_shows_what_was_held_back() -> None:
    stream = TextStream(("END",))
    assert stream.feed(b"EN") == ""
    assert stream.flush() == "EN"


def test_a_token_that_ends_the_text_comes_last() -> None:
    stream = TextStream(("END",))
    stream.feed(b"E", logprob(b"E"))
    stream.end(logprob(b"</s>"))
    assert texts(stream) == [], "what it ends is still held back"
    assert stream.flush() == "E"
    assert texts(stream) == [b"E", b"</s>"]
    assert texts(stream) == []
