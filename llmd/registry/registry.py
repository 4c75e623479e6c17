"""The models that this daemon serves."""

from __future__ import annotations

from llmd.core.embedding import Pooling
from llmd.errors import ModelNotFound, Unsupported
from llmd.registry.instance import ModelInstance


class ModelRegistry:
    """Finds the model that a request means. Event loop only."""

    def __init__(self, instances: list[ModelInstance], *, strict_names: bool = False) -> None:
        """With one instance a request's model name is advisory, unless `strict_names`."""
        assert instances
        self._instances = {instance.name: instance for instance in instances}
        self._strict_names = strict_names

    def list(self) -> list[ModelInstance]:
        return list(self._instances.values())

    def find(self, name: str) -> ModelInstance:
        """The instance of exactly this id. Raises ModelNotFound, naming those that are served."""
        instance = self._instances.get(name)
        if instance is None:
            served = ", ".join(self._instances)
            raise ModelNotFound(
                f"the model {name!r} is not served here. Use one of: {served}.", param="model"
            )
        return instance

    async def lease(self, name: str | None) -> ModelInstance:
        """The instance that a request for `name` goes to, ready to write text; waits for a load
        that is under way. Raises ModelNotFound, what the load failed with, or Unsupported where
        the model embeds or ranks.
        """
        instance = await self.lease_any(name)
        pooling = instance.model.pooling
        if pooling is not None:
            does, route = "embeds", "embeddings"
            if pooling.pooling is Pooling.RANK:
                does, route = "ranks", "rerank"
            raise Unsupported(
                f"the model {instance.name} {does} texts and writes none. Use POST /v1/{route}, or "
                f"serve a model that writes.",
                param="model",
            )
        return instance

    async def lease_pooling(self, name: str | None) -> ModelInstance:
        """As `lease`, of a model that embeds or ranks. Raises Unsupported where it writes text."""
        instance = await self.lease_any(name)
        if instance.model.pooling is None:
            raise Unsupported(
                f"the model {instance.name} writes text and has no embeddings. Serve one that has: "
                f"llmd serve MODEL --embeddings (a model made for embeddings needs no flag).",
                param="model",
            )
        return instance

    async def lease_any(self, name: str | None) -> ModelInstance:
        """As `lease`, of a model of either kind: whether `instance.model.pooling` is None tells."""
        instance = self.choose(name)
        await instance.ensure_ready()
        return instance

    def choose(self, name: str | None) -> ModelInstance:
        """The instance that a request for `name` goes to, ready or not. Raises ModelNotFound."""
        if len(self._instances) == 1 and (name is None or not self._strict_names):
            return next(iter(self._instances.values()))
        return self.find(name or "")

    @property
    def is_ready(self) -> bool:
        """Whether any model can serve now."""
        return any(instance.is_ready for instance in self._instances.values())

    async def close(self) -> None:
        for instance in self._instances.values():
            await instance.close()
