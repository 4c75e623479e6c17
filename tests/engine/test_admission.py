from __future__ import annotations

import pytest

from llmd.engine.admission import LONGEST_RETRY_AFTER, Admission
from llmd.errors import QueueFull


def admission(max_queue: int, num_running: int = 4) -> Admission:
    made = Admission(max_queue)
    made.open(num_running)
    return made


@pytest.mark.parametrize(("max_queue", "num_unfinished"), [(0, 3), (2, 5), (256, 259)])
def test_there_is_room_up_to_what_runs_and_may_wait(max_queue: int, num_unfinished: int) -> None:
    admission(max_queue).check(num_unfinished, 1)
    with pytest.raises(QueueFull):
        admission(max_queue).check(num_unfinished + 1, 1)


def test_every_sequence_of_a_request_counts() -> None:
    admission(2).check(3, 3)
    with pytest.raises(QueueFull):
        admission(2).check(3, 4)


def test_a_request_that_is_alone_is_never_too_large() -> None:
    admission(0).check(0, 100)


def test_nobody_is_refused_before_it_is_known_how_many_run() -> None:
    Admission(0).check(100, 1)


def test_a_refusal_tells_the_numbers_and_the_cure() -> None:
    with pytest.raises(QueueFull) as raised:
        admission(2).check(6, 1)
    message = raised.value.message
    assert "6 answers" in message and "at most 6 may" in message
    assert message.endswith("start llmd with a larger --max-queue.")


@pytest.mark.parametrize(
    ("durations", "seconds"),
    [
        ((), 1),
        ((0.01, 0.02), 1),
        ((2.0, 5.0), 4),
        ((1000.0,), LONGEST_RETRY_AFTER),
        ((1000.0, *[7.0] * 32), 7),
    ],
)
def test_who_is_refused_comes_back_when_recent_requests_took_that_long(
    durations: tuple[float, ...], seconds: int
) -> None:
    made = admission(0)
    for duration in durations:
        made.note_finished(duration)
    assert made.retry_after == seconds
    with pytest.raises(QueueFull, match=f"Try again in {seconds} s") as raised:
        made.check(4, 1)
    assert raised.value.retry_after == seconds
