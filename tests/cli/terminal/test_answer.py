from __future__ import annotations

from collections.abc import Iterator

import pytest
from scripted_daemon import delta, end, text

from llmd.cli.terminal.answer import Answer, Event, follow


class Shown:
    """A screen that writes down what it is to show."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def thought(self, text: str) -> None:
        self.calls.append(("thought", text))

    def text(self, text: str) -> None:
        self.calls.append(("text", text))

    def line(self, text: str) -> None:
        self.calls.append(("line", text))

    def status(self, text: str) -> None:
        self.calls.append(("status", text))

    def catch_up(self) -> None:
        self.calls.append(("catch up", ""))

    def finish(self) -> None:
        self.calls.append(("finish", ""))

    def forget(self) -> None:
        self.calls.append(("forget", ""))


def followed(*events: Event | None) -> tuple[Answer, list[tuple[str, str]]]:
    answer, screen, ticks = Answer(), Shown(), iter(range(100))
    follow(events, screen, answer, lambda: float(next(ticks)))
    return answer, screen.calls


def test_thoughts_and_text_are_shown_as_they_come_and_kept() -> None:
    answer, shown = followed(
        delta(role="assistant", content=""), delta(reasoning_content="Hm"), text("a"), text("b"),
        end("stop", timings={"prompt_n": 1}), {"choices": [], "usage": {"total_tokens": 4}},
    )  # fmt: skip
    assert shown == [("thought", "Hm"), ("text", "a"), ("text", "b")]
    assert (answer.text, answer.thoughts, answer.finish_reason) == ("ab", ["Hm"], "stop")
    assert answer.usage == {"total_tokens": 4} and answer.timings == {"prompt_n": 1}
    assert answer.seconds_to_first == 1.0


def test_a_call_that_comes_in_pieces_is_one_line_and_stands_for_the_answer() -> None:
    def piece(**function: str) -> Event:
        return delta(tool_calls=[{"index": 0, "function": function}])

    events = (piece(name="look", arguments=""), piece(arguments='{"a"'), piece(arguments=": 1}"))
    answer, shown = followed(*events, end("tool_calls"))
    assert shown == [("line", 'calls look({"a": 1})')]
    assert answer.text == 'look({"a": 1})'


def test_a_long_wait_is_told_and_a_short_one_not() -> None:
    progress = {"total": 9000, "cache": 0, "processed": 512, "time_ms": 20}
    _, shown = followed(
        delta(content="") | {"prompt_progress": progress},
        delta(content="") | {"prompt_progress": {**progress, "processed": 4096, "time_ms": 900}},
        {},
        None,
    )
    assert shown == [
        ("status", "reading 4096 of 9000 tokens ..."),
        ("catch up", ""),
        ("status", "waiting for the model ..."),
    ]


def test_what_came_before_an_error_is_kept() -> None:
    def events() -> Iterator[Event]:
        yield text("half")
        raise ConnectionError

    answer = Answer()
    with pytest.raises(ConnectionError):
        follow(events(), Shown(), answer)
    assert answer.text == "half"


def test_numbers_are_one_line() -> None:
    timings = {"prompt_n": 5, "prompt_per_second": 50.4, "cache_n": 2, "predicted_n": 3,
               "predicted_per_second": 30.04}  # fmt: skip
    answer = Answer(timings=timings, usage={"total_tokens": 10}, seconds_to_first=0.123)
    assert answer.stats(64) == (
        "first token after 0.12 s; prompt 5 tokens at 50/s (2 more were cached); "
        "answer 3 tokens at 30.0/s; context 10 of 64 tokens"
    )
    assert Answer().stats(None) == ""
