"""How much memory all loaded models may take together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from llmd.config.memory import private_memory
from llmd.config.settings import ModelSettings
from llmd.config.size_text import size_text
from llmd.engine.estimate import estimate
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.errors import NotEnoughMemory
from llmd.registry.footprint import UNLIMITED, Bounds, Footprint

Estimate = Callable[[Path, ModelSettings, Memory], MemoryEstimate]
"""What a model will take where there is this much memory for models. Called on a thread of its own.
Raises ModelLoadError.
"""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What there would be if no model were loaded."""

    memory: Memory

    @property
    def bounds(self) -> Bounds:
        memory = self.memory
        total = UNLIMITED if memory.budget is None else memory.budget
        return Bounds(memory.host_bytes, memory.device, total)

    def footprint(self, estimate: MemoryEstimate) -> Footprint:
        if self.memory.device_shares_host:
            return Footprint(estimate.total)
        return Footprint(estimate.host, estimate.device)

    def refuse(self, name: str, needed: Footprint) -> NotEnoughMemory:
        """For a model that has no room although all others were taken out."""
        bounds, reason, where = self.bounds, self.memory.reason, ""
        bound = bounds.host
        if needed.total > bounds.total:
            bound, reason = bounds.total, "--memory-budget"
        elif needed.host <= bounds.host:
            bound, reason, where = bounds.device, "what is free", " on GPUs"
        return NotEnoughMemory(
            f"the model {name} needs {needed} of memory, and all models together may take "
            f"{size_text(bound)}{where} ({reason}). Give it a smaller quantization, --ctx-size or "
            f"--kv-tokens, or allow more."
        )


class MemoryBudget:
    """The bound on loaded models, and what each of them is expected to take."""

    def __init__(
        self,
        limit: int = 0,
        *,
        estimate: Estimate = estimate,
        now: Callable[[], Memory] = Memory.now,
        private: Callable[[], int | None] = private_memory,
    ) -> None:
        """`limit` bytes, in host memory and on devices together; 0 is what is free. `now` is what
        there is, and `private` what this process has of its own, None where the system does not
        tell.
        """
        self.limit = limit
        self.estimate = estimate
        self._now = now
        self._private = private
        self._private_at_start = private()

    def capacity(self, residents: Iterable[Footprint]) -> Capacity:
        """What there would be for models if none of the residents were loaded."""
        residents = list(residents)
        free, private = self._now(), self._private()
        # Of what models take, the mapped part of their files counts as available all the time.
        if private is None or self._private_at_start is None:
            given_back = sum(each.host for each in residents)
        else:
            given_back = max(0, private - self._private_at_start)
        memory = replace(
            free,
            host=replace(free.host, num_bytes=free.host.num_bytes + given_back),
            device=free.device + sum(each.device for each in residents),
            budget=self.limit or None,
        )
        return Capacity(memory)
