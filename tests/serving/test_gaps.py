from __future__ import annotations

import pytest

from llmd.serving.gaps import BOUNDS, Gaps


@pytest.mark.parametrize("bucket", [0, 3, len(BOUNDS) - 1])
def test_a_bucket_holds_gaps_up_to_its_bound_and_that_itself(bucket: int) -> None:
    gaps = Gaps()
    gaps.note(0, 0.0)
    gaps.note(0, BOUNDS[bucket])
    gaps.note(1, 0.0)
    gaps.note(1, BOUNDS[bucket] * 1.01)
    expected = [0] * (len(BOUNDS) + 1)
    expected[bucket] += 1
    expected[bucket + 1] += 1
    assert gaps.counts == expected
    assert gaps.total == pytest.approx(BOUNDS[bucket] * 2.01)


def test_gaps_are_those_of_each_choice() -> None:
    gaps = Gaps()
    for index, now in [(0, 1.0), (1, 1.5), (0, 2.0), (1, 2.5)]:
        gaps.note(index, now)
    assert (sum(gaps.counts), gaps.total) == (2, 2.0)


def test_between_two_generations_there_is_no_gap() -> None:
    gaps = Gaps()
    gaps.note(0, 1.0)
    gaps.begin()
    gaps.note(0, 9.0)
    gaps.note(0, 9.5)
    assert (sum(gaps.counts), gaps.total) == (1, 0.5)


def test_what_several_counted_is_added_up() -> None:
    one, other = Gaps(), Gaps()
    for gaps, end in ((one, 0.1), (other, 100.0)):
        gaps.note(0, 0.0)
        gaps.note(0, end)
    one.add(other)
    assert (sum(one.counts), one.counts[-1]) == (2, 1)
    assert one.total == pytest.approx(100.1)
    assert sum(other.counts) == 1
