from __future__ import annotations

import pytest

from llmd.cli.pull_progress import LINE_INTERVAL, LineProgress
from llmd.store.hub_reference import HubReference
from llmd.store.pull_event import (
    Advanced,
    Checking,
    Chosen,
    Damaged,
    Finished,
    HubAway,
    Interrupted,
    Joined,
    PullEvent,
)

MIB = 2**20
CHOSEN = Chosen(HubReference("org", "repo", "Q8_0"), (), None, None, 100 * MIB, 20 * MIB)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_line_comes_now_and_then_with_rate_and_rest(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = LineProgress(clock)
    progress(CHOSEN)
    lines(capsys)
    for second in range(1, 13):
        clock.now = float(second)
        progress(Advanced("m.gguf", 0, (20 + 2 * second) * MIB))
    assert clock.now > LINE_INTERVAL
    assert lines(capsys) == ["m.gguf: 40% of 100 MiB, 2.0 MiB/s, 0:30 left"]


def test_what_was_here_before_is_no_part_of_the_rate(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = LineProgress(clock)
    progress(CHOSEN)
    clock.now = 20.0
    progress(Advanced("m.gguf", 0, 40 * MIB))
    assert lines(capsys)[-1] == "m.gguf: 40% of 100 MiB, 1.0 MiB/s, 1:00 left"


def test_it_tells_how_far_a_stopped_pull_came() -> None:
    progress = LineProgress()
    assert progress.so_far() == ""
    progress(CHOSEN)
    progress(Advanced("m.gguf", 0, 43 * MIB))
    assert progress.so_far() == " at 43% of 100 MiB"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            CHOSEN,
            "org/repo:Q8_0: 0 files, 100 MiB, licence not told, 20.0 MiB here already",
        ),
        (Finished("m"), "m: here and checked"),
        (Joined("m"), "m: another process is getting it; waiting for that"),
        (Interrupted("m", "It broke off.", 4.0), "m: It broke off. Goes on in 4 s"),
        (Checking("m", 3 * MIB), "m: checking 3.0 MiB that are here"),
        (Damaged("m"), "m: damaged, and removed; it comes again"),
        (
            HubAway(HubReference("org", "repo"), "No network."),
            "No network. org/repo is taken as it is here",
        ),
    ],
)
def test_each_event_is_told(
    event: PullEvent, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    LineProgress()(event)
    assert lines(capsys) == [line]
