"""Other models and limits while a registry works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from clocks import FakeClock
from fake_server import FakeInstance, HeldRunner

from llmd.config.settings import ModelSettings
from llmd.errors import InvalidModelFile, ModelNotFound
from llmd.registry.instance import ModelInstance, ModelState
from llmd.registry.registry import ModelChanges, ModelRegistry

BASE = ModelSettings()


def with_registry(work: Callable[[ModelRegistry, FakeClock], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        clock = FakeClock()
        models = []
        for name in ("a", "b"):
            runner = HeldRunner(256)
            model = FakeInstance(runner, num_sequences=4, error=None, name=name, clock=clock)
            model.may_load.set()
            models.append(model)
        registry = ModelRegistry(models)
        try:
            await work(registry, clock)
        finally:
            await registry.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def apply(registry: ModelRegistry, *, preload: Sequence[str] = (), **more: Any) -> ModelChanges:
    limits = {"strict_names": False, "idle_unload": 0, "memory_budget": 0}
    models = more.pop("models")
    return registry.apply(models, preload=preload, **(limits | more))


async def idle(registry: ModelRegistry) -> None:
    """Until nothing goes on in the background."""
    while registry._tasks:
        await asyncio.wait(registry._tasks)


def test_the_same_models_go_on_untouched() -> None:
    async def work(registry: ModelRegistry, _clock: FakeClock) -> None:
        await registry.load("a")
        before = registry.list()
        assert apply(registry, models={"a": BASE, "b": BASE}) == ModelChanges()
        assert registry.list() == before and registry.find("a").is_ready

    with_registry(work)


def test_a_new_model_is_served_and_their_order_is_the_new_one(llama_path: Path) -> None:
    async def work(registry: ModelRegistry, _clock: FakeClock) -> None:
        new = ModelSettings(source=str(llama_path), threads=1, ctx_size=256)
        changes = apply(registry, models={"new": new, "b": BASE, "a": BASE}, preload=["new"])
        assert changes == ModelChanges(added=("new",))
        assert [instance.name for instance in registry.list()] == ["new", "b", "a"]
        with await registry.lease("new") as instance:
            assert instance.model.context_size == 256

    with_registry(work)


def test_a_removed_model_ends_what_it_does_and_takes_nobody_on() -> None:
    async def work(registry: ModelRegistry, _clock: FakeClock) -> None:
        lease = await registry.lease("a")
        removed = registry.find("a")
        assert apply(registry, models={"b": BASE, "c": BASE}).removed == ("a",)
        with pytest.raises(ModelNotFound, match="Use one of: b, c"):
            await registry.lease("a")
        await asyncio.sleep(0)
        assert removed.usage is not None and removed.usage.is_busy
        lease.release()
        await idle(registry)
        assert removed.state is ModelState.CLOSED

    with_registry(work)


def test_who_waits_for_a_removed_model_is_told() -> None:
    async def work(registry: ModelRegistry, _clock: FakeClock) -> None:
        lease = await registry.lease("a")
        unloading = asyncio.ensure_future(registry.unload("a"))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(registry.lease("a"))
        await asyncio.sleep(0)
        apply(registry, models={"b": BASE})
        with pytest.raises(ModelNotFound, match="served no more"):
            await waiting
        lease.release()
        await unloading
        await idle(registry)

    with_registry(work)


def test_a_changed_model_is_loaded_anew_with_its_new_settings_when_its_users_are_done() -> None:
    async def work(registry: ModelRegistry, _clock: FakeClock) -> None:
        lease = await registry.lease("a")
        model = lease.instance
        assert isinstance(model, FakeInstance)
        other = ModelSettings(ctx_size=1)
        assert apply(registry, models={"a": other, "b": BASE}).changed == ("a",)
        await asyncio.sleep(0)
        assert model.state is ModelState.DRAINING
        waiting = asyncio.ensure_future(registry.lease("a"))
        lease.release()
        with await waiting as again:
            assert again is model and model.settings is other and model.num_loads == 2

    with_registry(work)


def test_a_changed_model_that_is_preloaded_is_loaded_at_once() -> None:
    async def work(registry: ModelRegistry, _clock: FakeClock) -> None:
        model = await registry.load("a")
        changed = {"a": ModelSettings(ctx_size=1), "b": ModelSettings(ctx_size=1)}
        apply(registry, models=changed, preload=["a"])
        await idle(registry)
        await model.settle()
        assert isinstance(model, FakeInstance) and model.num_loads == 2
        assert model.is_ready and registry.find("b").state is ModelState.UNLOADED

    with_registry(work)


def test_what_needs_no_load_changes_at_once() -> None:
    async def work(registry: ModelRegistry, clock: FakeClock) -> None:
        model = await registry.load("a")
        adjusted = ModelSettings(max_queue=3, ttl=7, preload=True)
        assert apply(registry, models={"a": adjusted, "b": BASE}).adjusted == ("a",)
        assert model.is_ready and model.usage is not None
        assert model.usage.expires_at == clock.now + 7
        assert model.client._admission.max_queue == 3

    with_registry(work)


def test_limits_of_all_models_change_at_once() -> None:
    async def work(registry: ModelRegistry, clock: FakeClock) -> None:
        model = await registry.load("a")
        apply(registry, models={"a": BASE, "b": BASE}, idle_unload=60)
        assert model.usage is not None and model.usage.expires_at == clock.now + 60
        apply(registry, models={"a": BASE}, strict_names=True)
        with pytest.raises(ModelNotFound):
            await registry.lease("other")
        await idle(registry)

    with_registry(work)


def test_a_model_that_failed_is_tried_again() -> None:
    async def work(registry: ModelRegistry, _clock: FakeClock) -> None:
        model: ModelInstance = registry.find("a")
        assert isinstance(model, FakeInstance)
        model.load_error = InvalidModelFile("broken. Download it again.")
        with pytest.raises(InvalidModelFile):
            await registry.load("a")
        model.load_error = None
        apply(registry, models={"a": BASE, "b": BASE})
        assert (await registry.load("a")).is_ready

    with_registry(work)
