from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.registry.eviction import Resident, choose_evictions
from llmd.registry.footprint import Bounds, Footprint


def resident(name: str, size: int, last_used: float, **flags: bool) -> Resident:
    return Resident(name, Footprint(size), last_used, **flags)


def chosen(needed: int, residents: list[Resident], capacity: int) -> list[str] | None:
    found = choose_evictions(Footprint(needed), residents, Bounds(total=capacity))
    return None if found is None else [each.name for each in found]


def test_nothing_goes_where_there_is_room() -> None:
    assert chosen(4, [resident("a", 6, 1)], 10) == []


def test_the_least_recently_used_goes_first() -> None:
    models = [resident("new", 5, 3), resident("old", 5, 1), resident("middle", 5, 2)]
    assert chosen(5, models, 15) == ["old"]
    assert chosen(8, models, 15) == ["old", "middle"]


def test_idle_ones_go_before_busy_ones() -> None:
    models = [resident("busy", 5, 1, is_busy=True), resident("idle", 5, 2)]
    assert chosen(5, models, 10) == ["idle"]
    assert chosen(8, models, 10) == ["idle", "busy"]


def test_nobody_goes_whose_leaving_does_not_help() -> None:
    models = [resident("small", 1, 1), resident("large", 9, 2)]
    assert chosen(9, models, 10) == ["large"]
    busy = [resident("idle", 2, 1), resident("busy", 8, 2, is_busy=True)]
    assert chosen(8, busy, 10) == ["busy"]


def test_who_leaves_anyway_counts_as_gone() -> None:
    models = [resident("leaving", 5, 9, is_leaving=True), resident("other", 5, 1)]
    assert chosen(5, models, 10) == []


def test_what_is_too_large_alone_is_refused() -> None:
    assert chosen(11, [resident("a", 1, 1)], 10) is None


def test_host_and_devices_are_bounds_of_their_own() -> None:
    models = [
        Resident("host", Footprint(8, 0), 1),
        Resident("device", Footprint(1, 7), 2),
    ]
    bounds = Bounds(host=10, device=8)
    found = choose_evictions(Footprint(1, 4), models, bounds)
    assert found is not None and [each.name for each in found] == ["device"]
    assert choose_evictions(Footprint(1, 9), models, bounds) is None


RESIDENTS = st.lists(
    st.builds(
        Resident,
        st.uuids().map(str),
        st.builds(Footprint, st.integers(0, 20), st.integers(0, 20)),
        st.floats(0, 100),
        is_busy=st.booleans(),
        is_leaving=st.booleans(),
    ),
    max_size=8,
)


@given(st.builds(Footprint, st.integers(0, 30), st.integers(0, 30)), RESIDENTS)
def test_what_is_chosen_makes_room_and_none_of_it_is_too_much(
    needed: Footprint, residents: list[Resident]
) -> None:
    bounds = Bounds(host=30, device=25, total=40)
    found = choose_evictions(needed, residents, bounds)
    if found is None:
        assert not bounds.hold(needed)
        return
    assert not any(each.is_leaving for each in found)
    stay = [each for each in residents if each not in found and not each.is_leaving]
    total = sum((each.footprint for each in stay), needed)
    assert bounds.hold(total)
    assert not any(bounds.hold(total + each.footprint) for each in found)


@pytest.mark.parametrize(
    ("footprint", "text"),
    [(Footprint(2**30), "1.0 GiB"), (Footprint(2**20, 2**30), "1.0 MiB and 1.0 GiB on GPUs")],
)
def test_a_footprint_is_told_in_words(footprint: Footprint, text: str) -> None:
    assert str(footprint) == text
