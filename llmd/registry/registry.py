"""The models that this daemon serves."""

from __future__ import annotations

from llmd.errors import ModelNotFound
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
        """The instance that a request for `name` goes to, ready to generate; waits for a load that
        is under way. Raises ModelNotFound, or what the load failed with.
        """
        if len(self._instances) == 1 and (name is None or not self._strict_names):
            instance = next(iter(self._instances.values()))
        else:
            instance = self.find(name or "")
        await instance.ensure_ready()
        return instance

    @property
    def is_ready(self) -> bool:
        """Whether any model can serve now."""
        return any(instance.is_ready for instance in self._instances.values())

    async def close(self) -> None:
        for instance in self._instances.values():
            await instance.close()
