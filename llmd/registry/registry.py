"""The models that this daemon serves."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from llmd.config.settings import ModelSettings
from llmd.core.embedding import Pooling
from llmd.errors import LlmdError, ModelForbidden, ModelNotFound, Unsupported
from llmd.registry.budget import MemoryBudget
from llmd.registry.instance import Lease, ModelInstance, ModelState
from llmd.registry.residency import LoadObserver, Residency

AT_ONCE = frozenset({"max_queue", "ttl", "preload"})
"""Settings of a model that change without loading it anew."""


@dataclass(frozen=True, slots=True)
class ModelChanges:
    """What other settings did, by served ids: `changed` are loaded anew, `adjusted` go on."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()


class ModelRegistry:
    """Finds the model that a request means, and has it loaded when it is not. Event loop only."""

    def __init__(
        self,
        instances: Sequence[ModelInstance],
        *,
        strict_names: bool = False,
        preload: Sequence[str] = (),
        idle_unload: float = 0,
        budget: MemoryBudget | None = None,
        observer: LoadObserver | None = None,
    ) -> None:
        """With one instance a request's model name is advisory, unless `strict_names`. `preload`
        names those that `start` loads. A model without a `ttl` is unloaded when it was not used for
        `idle_unload` seconds, 0 for never. Without a `budget` there is no bound on what is loaded.
        """
        assert instances
        self._instances: dict[str, ModelInstance] = {}
        self._strict_names = strict_names
        self._idle_unload = idle_unload
        self._budget = budget
        self._residency = Residency(budget, observer or LoadObserver())
        self._to_start = tuple(preload)
        self._retiring: set[ModelInstance] = set()
        self._refusal: LlmdError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._permitted: frozenset[str] | None = None
        for instance in instances:
            self._adopt(instance)

    def permitting(self, names: Collection[str]) -> ModelRegistry:
        """The same registry for somebody who may use these models only, for as long as a request
        takes: others are not listed, and asking for one raises ModelForbidden.
        """
        view = copy(self)
        view._permitted = frozenset(names)
        return view

    def list(self) -> list[ModelInstance]:
        return [each for each in self._instances.values() if self._is_permitted(each)]

    def find(self, name: str) -> ModelInstance:
        """The instance of exactly this id. Raises ModelNotFound, naming those that are served, or
        ModelForbidden.
        """
        instance = self._instances.get(name)
        if instance is None:
            served = ", ".join(each.name for each in self.list())
            raise ModelNotFound(
                f"the model {name!r} is not served here. Use one of: {served}.", param="model"
            )
        return self._permit(instance)

    async def lease(self, name: str | None, keep_alive: float | None = None) -> Lease:
        """The use of the model that a request for `name` goes to, ready to write text; has it
        loaded, and waits for that, where it is not. Whoever gets a lease must release it, on every
        path. `keep_alive` is how many seconds the model is to stay when nobody uses it any more.

        Raises ModelNotFound, what the load failed with, or Unsupported where the model embeds or
        ranks. Who is cancelled meanwhile does not stop the load.
        """
        lease = await self.lease_any(name, keep_alive)
        pooling = lease.instance.model.pooling
        if pooling is None:
            return lease
        lease.release()
        does, route = "embeds", "embeddings"
        if pooling.pooling is Pooling.RANK:
            does, route = "ranks", "rerank"
        raise Unsupported(
            f"the model {lease.instance.name} {does} texts and writes none. Use POST /v1/{route}, "
            f"or serve a model that writes.",
            param="model",
        )

    async def lease_pooling(self, name: str | None, keep_alive: float | None = None) -> Lease:
        """As `lease`, of a model that embeds or ranks. Raises Unsupported where it writes text."""
        lease = await self.lease_any(name, keep_alive)
        if lease.instance.model.pooling is not None:
            return lease
        lease.release()
        raise Unsupported(
            f"the model {lease.instance.name} writes text and has no embeddings. Serve one that "
            f"has: llmd serve MODEL --embeddings (a model made for embeddings needs no flag).",
            param="model",
        )

    async def lease_any(self, name: str | None, keep_alive: float | None = None) -> Lease:
        """As `lease`, of a model of either kind: whether `instance.model.pooling` is None tells."""
        if self._refusal is not None:
            raise self._refusal
        instance = self.choose(name)
        if instance.needs_load:
            self._residency.want(instance)
        return await instance.lease(keep_alive)

    def choose(self, name: str | None) -> ModelInstance:
        """The instance that a request for `name` goes to, ready or not. Raises ModelNotFound or
        ModelForbidden.
        """
        if len(self._instances) == 1 and (name is None or not self._strict_names):
            return self._permit(next(iter(self._instances.values())))
        return self.find(name or "")

    async def load(self, name: str | None, keep_alive: float | None = None) -> ModelInstance:
        """Have a model loaded, also one that has just failed, which counts as a use of it. Raises
        as `lease`.
        """
        self.choose(name).forgive()
        with await self.lease_any(name, keep_alive) as instance:
            return instance

    async def unload(self, name: str | None) -> ModelInstance:
        """Let those who use a model finish and unload it; returns when its memory is given back.
        Raises ModelNotFound.
        """
        instance = self.choose(name)
        await self._residency.unload(instance, "as asked")
        return instance

    async def start(self) -> dict[str, LlmdError]:
        """Load what is to be loaded at the start; `is_ready` waits for that. Returns what failed,
        by served id.
        """
        failures: dict[str, LlmdError] = {}
        try:
            for name in self._to_start:
                try:
                    await self.load(name)
                except LlmdError as error:
                    failures[name] = error
        finally:
            self._to_start = ()
        return failures

    @property
    def is_ready(self) -> bool:
        """Whether any model can serve: it is loaded, or will be when it is asked for. While models
        are loaded at the start, only those that are count.
        """
        if self._to_start:
            return any(instance.is_ready for instance in self._instances.values())
        return any(instance.can_serve for instance in self._instances.values())

    def apply(
        self,
        models: Mapping[str, ModelSettings],
        *,
        strict_names: bool,
        idle_unload: float,
        memory_budget: int,
        preload: Sequence[str] = (),
    ) -> ModelChanges:
        """Serve these models from now on. New requests see it at once; models that were removed or
        changed finish what they do first. Of those to be reloaded and added, the ones in `preload`
        are loaded at once, the others when they are asked for.
        """
        self._strict_names, self._idle_unload = strict_names, idle_unload
        if self._budget is not None and self._budget.limit != memory_budget:
            self._budget.limit = memory_budget
            self._residency.shrink()
        before, self._instances = self._instances, {}
        added, changed, adjusted = [], [], []
        for name, settings in models.items():
            instance = before.pop(name, None)
            if instance is None:
                self._adopt(ModelInstance(name, None, settings))
                added.append(name)
                if name in preload:
                    self._residency.want(self._instances[name])
                continue
            old = instance.settings
            instance.settings = settings
            instance.forgive()
            self._adopt(instance)
            if old.model_dump(exclude=set(AT_ONCE)) != settings.model_dump(exclude=set(AT_ONCE)):
                changed.append(name)
                self._go_on(self._replace(instance, is_wanted=name in preload))
            elif old != settings:
                adjusted.append(name)
        for instance in before.values():
            self._retiring.add(instance)
            self._go_on(self._retire(instance))
        return ModelChanges(tuple(added), tuple(before), tuple(changed), tuple(adjusted))

    def stop(self, error: LlmdError) -> None:
        """End every request with the error, and refuse more with it. A plain call; `close` is due,
        and until then prefixes and weights stay.
        """
        self._refusal = error
        for instance in {*self._instances.values(), *self._retiring}:
            instance.stop(error)

    async def close(self) -> None:
        """Abort what runs and free all models."""
        await self._residency.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        instances = {*self._instances.values(), *self._retiring}
        await asyncio.gather(*(instance.close() for instance in instances))

    def _is_permitted(self, instance: ModelInstance) -> bool:
        return self._permitted is None or instance.name in self._permitted

    def _permit(self, instance: ModelInstance) -> ModelInstance:
        if self._is_permitted(instance):
            return instance
        permitted = ", ".join(each.name for each in self.list()) or "none of those served now"
        raise ModelForbidden(
            f"this key may not use the model {instance.name!r}. Use one that it may: {permitted}.",
            param="model",
        )

    def _adopt(self, instance: ModelInstance) -> None:
        instance.configure(instance.settings, idle_unload=self._idle_unload)
        instance.call_when_expired(self._residency.unload_idle)
        self._instances[instance.name] = instance

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace(self, instance: ModelInstance, *, is_wanted: bool) -> None:
        await self._residency.unload(instance, "its settings changed")
        if is_wanted and instance.state is ModelState.UNLOADED:
            self._residency.want(instance)

    async def _retire(self, instance: ModelInstance) -> None:
        if instance.state is not ModelState.LOADING:
            instance.turn_away(
                ModelNotFound(f"the model {instance.name!r} is served no more. Use another.")
            )
        await self._residency.unload(instance, "it is served no more")
        await instance.close()
        self._retiring.discard(instance)
