"""How a model file would be run, and what that takes, before it is loaded."""

from __future__ import annotations

from pathlib import Path

from llmd.config.settings import ModelSettings
from llmd.engine.fit import NO_LIMITS, Limits, NativeFacts
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.engine.plan import Plan
from llmd.engine.pooling_plan import PoolingPlan, choose_pooling
from llmd.store.memory_need import MemoryNeed
from llmd.store.model_file import ModelFile, read_model_file


def make_plan(
    file: ModelFile,
    settings: ModelSettings,
    memory: Memory,
    limits: Limits = NO_LIMITS,
    facts: NativeFacts | None = None,
) -> Plan | PoolingPlan:
    """For a model that writes a Plan, for one that embeds or ranks a PoolingPlan. `facts` are what
    llama.cpp says of the model; None is what its header says. Any thread. Raises NotEnoughMemory,
    with the numbers, or InvalidModelFile.
    """
    need = MemoryNeed.of(file)
    if facts is not None:
        need = facts.applied_to(need)
    chosen = choose_pooling(file, settings)
    if chosen is not None:
        looks_ahead = file.looks_ahead if facts is None else facts.looks_ahead
        return PoolingPlan.make(
            file, need, settings, chosen, memory, limits, looks_ahead=looks_ahead
        )
    return Plan.make(file, need, settings, memory, limits)


def estimate(path: Path, settings: ModelSettings, memory: Memory) -> MemoryEstimate:
    """What the model at `path` will take where it has this much memory; `load_engine` with the same
    memory takes as much. Reads the file's header only: a tenth of a second at most, on any thread.
    Raises ModelLoadError: NotEnoughMemory, with the numbers, where it can never fit.
    """
    return make_plan(read_model_file(path), settings, memory).estimate
