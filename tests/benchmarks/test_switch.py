from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from connection import Address
from live import serving_all
from switch import Result, measure_cold, memory_of, switch_in_turn, table

from llmd.config.settings import ModelSettings, ServerSettings
from llmd.registry.budget import MemoryBudget
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry

SETTINGS = ModelSettings(threads=1, ctx_size=512, kv_tokens=512, batch_size=64)


@pytest.mark.gguf
def test_two_models_are_switched_in_turn(zoo: dict[str, Path]) -> None:
    budget = MemoryBudget()

    def make() -> ModelRegistry:
        instances = [ModelInstance(name, zoo[name], SETTINGS) for name in ("llama", "bytes")]
        return ModelRegistry(instances, budget=budget)

    with serving_all(make, ServerSettings()) as live:
        address, names = Address("127.0.0.1", live.port, ""), ["llama", "bytes"]
        sizes = asyncio.run(memory_of(address, names))
        budget.limit = max(sizes.values()) + min(sizes.values()) // 2
        with live.client() as client:
            for name in names:
                client.post("/models/unload", json={"model": name})
        switches = asyncio.run(switch_in_turn(address, names, 2))
        states = [instance.state.value for instance in live.registry.list()]
    assert states == ["unloaded", "ready"]
    llama, other, warm_llama, warm_other = map(min, switches)
    assert llama > warm_llama > 0 and other > warm_other > 0


@pytest.mark.gguf
def test_a_cold_start_is_longer_than_nothing(zoo: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmd"]
    assert measure_cold(command, zoo["llama"], tmp_path) > 0


def test_the_table_tells_medians_and_ranges() -> None:
    result = Result("a", 12.3, [3.0, 1.0, 2.0], [0.5], [0.1])
    assert "2.000 (1.000 .. 3.000)" in table([result])
