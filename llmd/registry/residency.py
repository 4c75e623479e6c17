"""Which models are in memory.

Models are loaded one at a time, in the order in which they were asked for. What keeps the first of
them from being loaded is taken out: idle models at once, others when those who use them are done.
Who asks for one of these meanwhile waits for its turn behind the first; so nobody starves, and two
models that have no room together are served in turns.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from llmd.errors import EngineFailed, LlmdError
from llmd.registry.budget import Capacity, MemoryBudget
from llmd.registry.eviction import Resident, choose_evictions
from llmd.registry.footprint import Footprint
from llmd.registry.instance import ModelInstance, ModelState

logger = logging.getLogger("llmd.registry")


class LoadObserver:
    """Is told of loads; by default of no interest."""

    def loading(self, instance: ModelInstance) -> None: ...

    def loaded(self, instance: ModelInstance) -> None: ...

    def failed(self, instance: ModelInstance, error: LlmdError) -> None: ...


class Residency:
    """Loads models and takes them out again. Event loop only."""

    def __init__(self, budget: MemoryBudget | None, observer: LoadObserver) -> None:
        """`budget` None loads whatever is asked for."""
        self._budget = budget
        self._observer = observer
        self._loaded: list[ModelInstance] = []
        self._wanted: deque[ModelInstance] = deque()
        self._leaving: dict[ModelInstance, asyncio.Task[None]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._is_closed = False

    def want(self, instance: ModelInstance) -> None:
        """See to it that it is loaded, when its turn comes. Who waits for its lease gets it then,
        or the reason why there is none.
        """
        if instance in self._wanted or self._is_closed:
            return
        self._wanted.append(instance)
        if self._worker is None or self._worker.done():
            self._worker = _begin(self._work())

    async def unload(self, instance: ModelInstance, reason: str) -> None:
        """Let those who use it finish, and take it out; of a load under way, its end is waited for.
        Returns when its memory is given back. It may be wanted again meanwhile.
        """
        await instance.settle()
        if instance.is_ready:
            self._take_out(instance, reason)
        leaving = self._leaving.get(instance)
        if leaving is not None:
            await asyncio.wait((leaving,))

    def unload_idle(self, instance: ModelInstance) -> None:
        """Take it out unless somebody uses it."""
        if instance.is_ready and instance.usage is not None and not instance.usage.is_busy:
            self._take_out(instance, "nobody used it")

    def shrink(self) -> None:
        """Take out what exceeds the budget, which may have become smaller."""
        if self._budget is None:
            return
        residents = {_as_seen(each): each for each in self._residents() if not _is_loading(each)}
        bounds = self._budget.capacity(each.footprint for each in residents).bounds
        for resident in choose_evictions(Footprint(), list(residents), bounds) or ():
            self._evict(residents[resident], "the memory budget is smaller now")

    async def close(self) -> None:
        """Load nothing any more. What is loaded stays so."""
        self._is_closed = True
        tasks = [*self._leaving.values(), *([self._worker] if self._worker else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        while self._wanted:
            instance = self._wanted[0]
            try:
                await self._bring(instance)
            except LlmdError as error:
                self._observer.failed(instance, error)
            except Exception as error:
                logger.exception("loading %s crashed", instance.name)
                if not instance.is_ready:
                    told = f"loading {instance.name} crashed ({error}). Look at llmd's log."
                    await instance.abandon(EngineFailed(told))
            finally:
                self._wanted.popleft()

    async def _bring(self, instance: ModelInstance) -> None:
        await instance.settle()
        leaving = self._leaving.get(instance)
        if leaving is not None:
            await asyncio.wait((leaving,))
        if instance.state not in (ModelState.UNLOADED, ModelState.FAILED):
            return
        try:
            capacity = await self._make_room(instance)
        except LlmdError as error:
            instance.fail(error)
            raise
        self._loaded = [*self._residents(), instance]
        self._observer.loading(instance)
        model = await instance.load(None if capacity is None else capacity.memory)
        if capacity is not None:  # llama.cpp may have granted less than was planned
            instance.footprint = capacity.footprint(model.estimate)
        self._observer.loaded(instance)

    async def _make_room(self, instance: ModelInstance) -> Capacity | None:
        """Take out what is in the way, and wait until that is gone. Returns what there is for all
        models; None is no bound. Raises NotEnoughMemory for a model that can never fit, and what is
        wrong with its file.
        """
        budget = self._budget
        if budget is None:
            return None
        path = await asyncio.to_thread(instance.find_file)
        while True:
            capacity = budget.capacity(each.footprint for each in self._residents())
            estimate = await asyncio.to_thread(
                budget.estimate, path, instance.settings, capacity.memory
            )
            needed, bounds = capacity.footprint(estimate), capacity.bounds
            residents = {_as_seen(each): each for each in self._residents()}
            if bounds.hold(sum((each.footprint for each in self._residents()), needed)):
                instance.footprint = needed
                return capacity
            chosen = choose_evictions(needed, list(residents), bounds)
            if chosen is None:
                raise capacity.refuse(instance.name, needed)
            for resident in chosen:
                self._evict(residents[resident], f"{instance.name} needs its memory")
            await asyncio.wait(self._leaving.values(), return_when=asyncio.FIRST_COMPLETED)

    def _residents(self) -> list[ModelInstance]:
        return [each for each in self._loaded if each.is_resident]

    def _evict(self, instance: ModelInstance, reason: str) -> None:
        instance.counts.num_evicted += 1
        self._take_out(instance, reason)

    def _take_out(self, instance: ModelInstance, reason: str) -> None:
        logger.info("unloading %s: %s", instance.name, reason)
        instance.stop_lending()
        self._leaving[instance] = _begin(self._drain(instance))

    async def _drain(self, instance: ModelInstance) -> None:
        try:
            await instance.drain()
            logger.info("%s is unloaded", instance.name)
        finally:
            del self._leaving[instance]


def _begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task of its own: it is not the request's that happened to cause it, also not in logs."""
    return asyncio.get_running_loop().create_task(work, context=Context())


def _is_loading(instance: ModelInstance) -> bool:
    return instance.state is ModelState.LOADING


def _as_seen(instance: ModelInstance) -> Resident:
    usage = instance.usage
    return Resident(
        instance.name,
        instance.footprint,
        0.0 if usage is None else usage.last_used,
        is_busy=usage is not None and usage.is_busy,
        is_leaving=instance.state is ModelState.DRAINING,
    )
