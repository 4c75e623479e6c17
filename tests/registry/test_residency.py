"""Loads on demand, under a memory budget: over fakes whose sizes and clock a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clocks import FakeClock
from fake_server import FakeInstance, HeldRunner

from llmd.config.memory import AvailableMemory
from llmd.config.settings import ModelSettings
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.errors import Draining, EngineFailed, InvalidModelFile, LlmdError, NotEnoughMemory
from llmd.registry import instance
from llmd.registry.budget import MemoryBudget
from llmd.registry.instance import RETRY_SECONDS, Lease, ModelState
from llmd.registry.registry import ModelRegistry

CAPACITY = 10

UNLOADED, READY, DRAINING = ModelState.UNLOADED, ModelState.READY, ModelState.DRAINING


class Model(FakeInstance):
    """A fake of a size, in bytes, that notes what else was in memory when it was loaded."""

    state_changed: asyncio.Event

    def __init__(self, name: str, size: int, house: House) -> None:
        super().__init__(HeldRunner(256), num_sequences=4, error=None, name=name, clock=house.clock)
        self.size = size
        self.house = house
        self.may_load.set()

    def find_file(self) -> Path:
        return Path(self.name)

    def _build(self) -> Any:
        engine, model = super()._build()
        self.house.loads.append(self.name)
        self.house.most = max(self.house.most, self.house.in_memory())
        return engine, replace(model, estimate=estimate(self.size))

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_state":
            self.__dict__.setdefault("state_changed", asyncio.Event()).set()


class House:
    """Models, their registry and its clock."""

    def __init__(self, limit: int = CAPACITY, **sizes: int) -> None:
        self.clock = FakeClock()
        self.loads: list[str] = []
        self.most = 0
        """Of memory that was ever taken when a model was loaded."""
        self.models = {name: Model(name, size, self) for name, size in sizes.items()}
        self.estimates = {name: sizes[name] for name in sizes}
        self.budget = MemoryBudget(
            limit,
            estimate=self._estimate,
            now=lambda: Memory(AvailableMemory(2000 - self.in_memory(), "all there is")),
            private=lambda: None,
        )
        self.registry = ModelRegistry(list(self.models.values()), budget=self.budget)

    def __getattr__(self, name: str) -> Model:
        return self.models[name]

    def in_memory(self) -> int:
        loaded = [each for each in self.models.values() if each.num_loads]
        return sum(each.size for each in loaded if not each.runner.is_closed)

    async def use(self, name: str) -> None:
        (await self.registry.lease(name)).release()

    def states(self) -> dict[str, ModelState]:
        return {name: model.state for name, model in self.models.items()}

    def _estimate(self, path: Path, _settings: ModelSettings, _memory: Memory) -> MemoryEstimate:
        return estimate(self.estimates[path.name])


def estimate(size: int) -> MemoryEstimate:
    return MemoryEstimate(
        weights=size, cache=0, compute=0, other=0, prompt_cache=0, device=0, device_weights=0,
        device_cache=0,
    )  # fmt: skip


def with_house(
    work: Callable[[House], Coroutine[Any, Any, None]], limit: int = CAPACITY, **sizes: int
) -> None:
    async def main() -> None:
        house = House(limit, **sizes)
        try:
            await work(house)
        finally:
            for model in house.models.values():
                model.may_load.set()
                model.runner.release()
            await house.registry.close()
        assert all(
            each.runner.is_closed for each in house.models.values() if each.name in house.loads
        )

    asyncio.run(asyncio.wait_for(main(), 30))


def soon(work: Coroutine[Any, Any, Lease]) -> asyncio.Task[Lease]:
    return asyncio.ensure_future(work)


async def ticks() -> None:
    """Long enough for all that needs nobody else to happen."""
    for _ in range(20):
        await asyncio.sleep(0)


async def reached(model: Model, state: ModelState) -> None:
    while model.state is not state:
        model.state_changed.clear()
        await model.state_changed.wait()


def test_a_model_is_loaded_when_it_is_asked_for() -> None:
    async def work(house: House) -> None:
        assert house.registry.is_ready, "it can be loaded"
        with await house.registry.lease("a") as leased:
            assert leased is house.a and leased.is_ready
        assert house.states() == {"a": READY, "b": UNLOADED}

    with_house(work, a=5, b=5)


def test_all_who_ask_join_one_load() -> None:
    async def work(house: House) -> None:
        house.a.may_load.clear()
        waiting = [soon(house.registry.lease("a")) for _ in range(3)]
        await reached(house.a, ModelState.LOADING)
        waiting.append(soon(house.registry.lease("a")))
        await ticks()
        house.a.may_load.set()
        assert [lease.instance for lease in await asyncio.gather(*waiting)] == [house.a] * 4
        assert house.loads == ["a"]
        assert house.a.usage is not None and house.a.usage.num_users == 4

    with_house(work, a=5)


def test_a_load_goes_on_when_who_asked_for_it_has_gone() -> None:
    async def work(house: House) -> None:
        house.a.may_load.clear()
        waiting = soon(house.registry.lease("a"))
        await reached(house.a, ModelState.LOADING)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        house.a.may_load.set()
        await house.a.settle()
        assert house.a.is_ready
        assert house.a.usage is not None and not house.a.usage.is_busy

    with_house(work, a=5)


def test_who_goes_as_the_load_ends_holds_no_lease() -> None:
    async def work(house: House) -> None:
        house.a.may_load.clear()
        waiting = soon(house.registry.lease("a"))
        await reached(house.a, ModelState.LOADING)
        serve = house.a._serve_waiters

        def serve_and_cancel() -> None:
            serve()
            waiting.cancel()

        house.a._serve_waiters = serve_and_cancel  # type: ignore[method-assign]
        house.a.may_load.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert house.a.usage is not None and not house.a.usage.is_busy

    with_house(work, a=5)


def test_a_failed_load_is_tried_again_later_and_not_at_once() -> None:
    async def work(house: House) -> None:
        house.a.load_error = InvalidModelFile("broken. Download it again.")
        waiting = [soon(house.registry.lease("a")) for _ in range(3)]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert errors == [house.a.load_error] * 3
        with pytest.raises(InvalidModelFile):
            await house.use("a")
        assert house.a.num_loads == 1 and not house.registry.is_ready
        house.clock.advance(RETRY_SECONDS)
        house.a.load_error = None
        await house.use("a")
        assert (house.a.state, house.a.error, house.registry.is_ready) == (READY, None, True)

    with_house(work, a=5)


def test_an_engine_that_ended_by_itself_is_loaded_anew_and_others_go_on() -> None:
    async def work(house: House) -> None:
        await house.use("a")
        held = await house.registry.lease("b")
        held_by_crash = await house.registry.lease("a")
        house.a.client._end(EngineFailed("it broke. Look at the log."))
        assert (house.a.state, house.registry.is_ready) == (ModelState.FAILED, True)
        await house.use("a")
        held_by_crash.release()
        assert house.a.usage is not None and not house.a.usage.is_busy
        assert house.a.is_ready and house.loads == ["a", "b", "a"]
        assert house.b.usage is not None and house.b.usage.is_busy and house.b.is_ready
        held.release()

    with_house(work, a=5, b=5)


def test_the_least_recently_used_idle_model_makes_room() -> None:
    async def work(house: House) -> None:
        for name in ("a", "b", "a", "c"):
            house.clock.advance(1)
            await house.use(name)
        assert house.states() == {"a": READY, "b": UNLOADED, "c": READY}
        assert house.most <= CAPACITY, "it was loaded before the other was gone"
        await house.use("b")
        assert house.states() == {"a": UNLOADED, "b": READY, "c": READY}
        assert house.most <= CAPACITY

    with_house(work, a=5, b=5, c=5)


def test_a_busy_model_is_drained_and_never_cut() -> None:
    async def work(house: House) -> None:
        lease = await house.registry.lease("a")
        waiting = soon(house.registry.lease("b"))
        await reached(house.a, DRAINING)
        late = soon(house.registry.lease("a"))
        await ticks()
        assert not waiting.done() and not late.done() and house.loads == ["a"]
        lease.release()
        with await waiting as leased:
            assert leased is house.b and house.states() == {"a": UNLOADED, "b": READY}
        with await late as leased:
            assert leased is house.a and house.states() == {"a": READY, "b": UNLOADED}
        assert house.loads == ["a", "b", "a"]
        assert house.most <= CAPACITY

    with_house(work, a=6, b=6)


def test_loads_go_in_the_order_in_which_they_were_asked_for() -> None:
    async def work(house: House) -> None:
        lease = await house.registry.lease("a")
        order: list[str] = []

        async def ask(name: str) -> None:
            with await house.registry.lease(name):
                order.append(name)

        asking = [asyncio.ensure_future(ask("b"))]
        await reached(house.a, DRAINING)
        asking += [asyncio.ensure_future(ask(name)) for name in ("a", "c", "b", "c")]
        await ticks()
        lease.release()
        await asyncio.gather(*asking)
        assert order == ["b", "b", "a", "c", "c"]

    with_house(work, a=6, b=6, c=6)


def test_what_can_never_fit_is_refused_with_numbers_and_nobody_goes() -> None:
    async def work(house: House) -> None:
        await house.use("a")
        with pytest.raises(NotEnoughMemory) as raised:
            await house.use("large")
        assert raised.value.message == (
            "the model large needs 11 bytes of memory, and all models together may take 10 bytes "
            "(--memory-budget). Give it a smaller quantization, --ctx-size or --kv-tokens, or "
            "allow more."
        )
        assert house.states() == {"a": READY, "large": ModelState.FAILED}
        assert house.registry.is_ready

    with_house(work, a=5, large=11)


def test_without_a_limit_free_memory_is_the_bound() -> None:
    async def work(house: House) -> None:
        for name in ("a", "b", "c"):
            await house.use(name)
        assert list(house.states().values()) == [UNLOADED, READY, READY, UNLOADED]
        with pytest.raises(NotEnoughMemory, match=r"may take .* \(all there is\)"):
            await house.use("large")

    # Of 2000 bytes that there are.
    with_house(work, 0, a=800, b=900, c=900, large=5000)


def test_an_idle_model_is_unloaded_and_comes_back() -> None:
    async def work(house: House) -> None:
        house.a.configure(ModelSettings(ttl=60), idle_unload=0)
        house.b.configure(ModelSettings(), idle_unload=0)
        await house.use("a")
        await house.use("b")
        house.clock.advance(60)
        await reached(house.a, UNLOADED)
        assert house.states() == {"a": UNLOADED, "b": READY}
        assert house.a.runner.is_closed, "its memory is not given back"
        await house.use("a")
        assert house.loads == ["a", "b", "a"]

    with_house(work, a=5, b=5)


def test_a_ttl_goes_before_the_common_time() -> None:
    async def work(house: House) -> None:
        house.a.configure(ModelSettings(ttl=0), idle_unload=10)
        house.b.configure(ModelSettings(), idle_unload=10)
        await house.use("a")
        await house.use("b")
        house.clock.advance(10)
        await reached(house.b, UNLOADED)
        assert house.a.is_ready

    with_house(work, a=5, b=5)


def test_a_request_may_let_its_model_go_at_once() -> None:
    async def work(house: House) -> None:
        (await house.registry.lease("a", 0)).release()
        house.clock.advance(0)
        await reached(house.a, UNLOADED)

    with_house(work, a=5)


def test_unloading_waits_for_those_who_use_it() -> None:
    async def work(house: House) -> None:
        lease = await house.registry.lease("a")
        unloading = asyncio.ensure_future(house.registry.unload("a"))
        await reached(house.a, DRAINING)
        await ticks()
        assert not unloading.done()
        lease.release()
        assert await unloading is house.a
        assert house.a.state is UNLOADED and house.a.runner.is_closed
        assert (await house.registry.unload("a")).state is UNLOADED, "once more does nothing"

    with_house(work, a=5)


def test_unloading_waits_for_a_load_and_serves_who_waited_for_it() -> None:
    async def work(house: House) -> None:
        house.a.may_load.clear()
        waiting = soon(house.registry.lease("a"))
        await reached(house.a, ModelState.LOADING)
        unloading = asyncio.ensure_future(house.registry.unload("a"))
        await ticks()
        house.a.may_load.set()
        with await waiting as leased:
            assert leased is house.a
        await unloading
        assert house.a.state is UNLOADED

    with_house(work, a=5)


def test_loading_tells_when_it_is_done() -> None:
    async def work(house: House) -> None:
        assert (await house.registry.load("a", 100)).is_ready
        assert house.a.usage is not None
        assert house.a.usage.expires_at == house.clock.now + 100

    with_house(work, a=5)


def test_a_crash_of_a_load_is_told_and_the_next_one_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(house: House) -> None:
        del house.estimates["a"]
        with pytest.raises(EngineFailed, match="loading a crashed"):
            await house.use("a")
        await house.use("b")

    with_house(work, a=5, b=5)
    assert any("loading a crashed" in record.getMessage() for record in caplog.records)


def test_a_crash_behind_the_load_gives_back_what_it_took(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise ZeroDivisionError

    async def work(house: House) -> None:
        with monkeypatch.context() as broken, pytest.raises(EngineFailed, match="crashed"):
            broken.setattr(instance, "set_up_chat", crash)
            await house.use("a")
        assert house.a.state is ModelState.FAILED and house.a.runner.is_closed
        house.clock.advance(RETRY_SECONDS)
        await house.use("a")

    with_house(work, a=5)
    assert any("loading a crashed" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("what", ["loading", "draining"])
def test_closing_turns_away_who_waits_and_gives_all_back(what: str) -> None:
    async def work(house: House) -> None:
        lease = await house.registry.lease("a")
        house.b.may_load.clear()
        waiting = [soon(house.registry.lease(name)) for name in ("b", "c", "b")]
        await reached(house.a, DRAINING)
        if what == "loading":
            lease.release()
            await reached(house.b, ModelState.LOADING)
        closing = asyncio.ensure_future(house.registry.close())
        await ticks()
        house.b.may_load.set()
        await closing
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, Draining)
        with pytest.raises(Draining):
            await house.use("c")
        assert house.a.runner.is_closed

    with_house(work, a=6, b=6, c=6)


def test_a_smaller_budget_is_kept_at_once() -> None:
    async def work(house: House) -> None:
        await house.use("a")
        lease = await house.registry.lease("b")
        house.clock.advance(1)
        await house.use("c")
        models = {name: ModelSettings() for name in house.models}
        house.registry.apply(models, strict_names=False, idle_unload=0, memory_budget=7)
        await reached(house.a, UNLOADED)
        assert house.states() == {"a": UNLOADED, "b": READY, "c": READY}
        house.registry.apply(models, strict_names=False, idle_unload=0, memory_budget=2)
        await reached(house.c, UNLOADED)
        assert house.b.state is DRAINING
        lease.release()
        await reached(house.b, UNLOADED)

    with_house(work, a=3, b=4, c=3)


def test_start_loads_what_it_is_told_and_goes_on_after_a_failure() -> None:
    async def work(house: House) -> None:
        registry = ModelRegistry(list(house.models.values()), preload=["a", "b"])
        house.a.load_error = InvalidModelFile("broken. Download it again.")
        house.b.may_load.clear()
        starting = asyncio.ensure_future(registry.start())
        await reached(house.b, ModelState.LOADING)
        assert not registry.is_ready, "nothing is loaded yet"
        house.b.may_load.set()
        failures: dict[str, LlmdError] = await starting
        assert failures == {"a": house.a.load_error}
        assert registry.is_ready and house.loads == ["b"]
        await registry.close()

    with_house(work, a=5, b=5, c=5)
