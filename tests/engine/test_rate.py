from __future__ import annotations

import pytest

from llmd.engine.rate import Rate


def test_nothing_is_known_at_first() -> None:
    rate = Rate()
    assert not rate.is_known and rate.seconds(100) == 0


def test_one_observation_is_believed() -> None:
    rate = Rate()
    rate.observe(100, 2)
    assert rate.seconds(50) == 1


def test_later_observations_win_slowly() -> None:
    rate = Rate()
    rate.observe(100, 1)
    for _ in range(40):
        rate.observe(100, 3)
    assert rate.seconds(100) == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize(("amount", "seconds"), [(0, 1), (1, 0), (-1, 1)])
def test_what_tells_nothing_is_ignored(amount: float, seconds: float) -> None:
    rate = Rate()
    rate.observe(amount, seconds)
    assert not rate.is_known
