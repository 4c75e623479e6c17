from __future__ import annotations

import asyncio

import pytest
from registry.test_residency import House, with_house

from llmd.errors import EngineFailed, InvalidModelFile
from llmd.registry.instance import RETRY_SECONDS


def test_a_model_that_makes_room_is_counted_and_one_that_is_unloaded_as_asked_is_not() -> None:
    async def work(house: House) -> None:
        for name in ("a", "b", "a"):
            await house.use(name)
        await house.registry.unload("a")
        assert (house.a.counts.num_loaded, house.a.counts.num_evicted) == (2, 1)
        assert (house.b.counts.num_loaded, house.b.counts.num_evicted) == (1, 1)

    with_house(work, a=6, b=6)


def test_a_smaller_budget_evicts() -> None:
    async def work(house: House) -> None:
        await house.use("a")
        models = {"a": house.a.settings}
        house.registry.apply(models, strict_names=False, idle_unload=0, memory_budget=3)
        assert house.a.counts.num_evicted == 1

    with_house(work, a=6)


def test_loads_that_fail_and_engines_that_break_are_counted() -> None:
    async def work(house: House) -> None:
        counts = house.a.counts
        house.a.load_error = InvalidModelFile("it is broken. Download it again.")
        with pytest.raises(InvalidModelFile):
            await house.use("a")
        assert (counts.num_loaded, counts.num_failed, counts.num_broken) == (0, 1, 0)
        house.a.load_error = None
        house.clock.advance(RETRY_SECONDS)
        await house.use("a")
        assert (counts.num_loaded, counts.num_broken) == (1, 0)
        house.a.client._end(EngineFailed("out of tea. Try again."))
        await house.use("a")
        assert (counts.num_loaded, counts.num_failed, counts.num_broken) == (2, 1, 1)

    with_house(work, a=6)


def test_the_time_of_loads_is_that_of_the_clock() -> None:
    async def work(house: House) -> None:
        house.a.may_load.clear()
        house.a.state_changed.clear()
        loading = asyncio.ensure_future(house.use("a"))
        await house.a.state_changed.wait()
        house.clock.advance(3)
        house.a.may_load.set()
        await loading
        assert house.a.counts.load_seconds == 3

    with_house(work, a=6)
