from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from zoo.llama import write_llama

from llmd.config.memory import AvailableMemory
from llmd.config.settings import ModelSettings
from llmd.engine.fit import MIN_CELLS
from llmd.engine.memory import Memory
from llmd.engine.plan import Plan
from llmd.errors import NotEnoughMemory
from llmd.llama import library
from llmd.store.memory_need import MemoryNeed
from llmd.store.model_file import read_model_file

HOST = AvailableMemory(2**40, "as the test says")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two layers; a token takes 256 bytes of cache in all."""
    return write_llama(tmp_path / "model.gguf", context_length=8192)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "supports_gpu", lambda: True)


def plan(path: Path, memory: Memory, **fields: Any) -> Plan:
    file = read_model_file(path)
    return Plan.make(file, MemoryNeed.of(file), ModelSettings(threads=1, **fields), memory)


def row(made: Plan, flag: str) -> str:
    return next(f"{each.value}: {each.reason}" for each in made.effective if each.flag == flag)


def test_it_is_made_before_anything_is_loaded(path: Path) -> None:
    made = plan(path, Memory(HOST), parallel=4)
    assert (made.context_size, made.params.num_cells) == (8192, 4 * 8192)
    assert made.estimate.cache == 4 * 8192 * 256
    assert "KV cache 8.0 MiB" in row(made, "--memory-budget")


def test_a_deterministic_sequence_takes_a_context_of_its_own(path: Path) -> None:
    made = plan(path, Memory(HOST), parallel=4)
    assert made.exact_params.num_cells == made.context_size
    assert 8192 * 256 < made.exact_bytes < made.estimate.host


def test_a_budget_bounds_pool_and_prompt_cache(path: Path) -> None:
    whole = plan(path, Memory(HOST))
    budget = whole.estimate.total // 2
    made = plan(path, Memory(HOST, budget=budget))
    assert made.estimate.total <= budget
    assert made.params.num_cells < whole.params.num_cells
    assert made.cache_ram <= budget


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"ctx_size": 2**30}, "--ctx-size"),
        ({"kv_tokens": 2**31 - 1, "ctx_size": 4096}, "--ctx-size or --kv-tokens"),
    ],
)
def test_what_can_never_fit_is_refused_before_loading(
    fields: dict[str, int], flags: str, path: Path
) -> None:
    memory = Memory(AvailableMemory(2**33, "as the test says"))
    with pytest.raises(NotEnoughMemory, match=rf"GiB of memory is free.*Set a smaller {flags}, or"):
        plan(path, memory, **fields)


@pytest.mark.usefixtures("gpu")
def test_gpus_take_all_layers_and_bound_the_pool(path: Path) -> None:
    least = plan(path, Memory(HOST, device=2**40), ctx_size=MIN_CELLS, kv_tokens=MIN_CELLS)
    made = plan(path, Memory(HOST, device=least.estimate.device + 1_000_000))
    assert made.num_gpu_layers == 3
    assert MIN_CELLS < made.params.num_cells < 8192
    assert made.estimate.device <= least.estimate.device + 1_000_000
    assert "of GPU memory" in row(made, "--kv-tokens")
    assert row(made, "--gpu-layers").startswith("3: all, in")


@pytest.mark.usefixtures("gpu")
def test_what_gpus_cannot_take_stays_on_the_host(path: Path) -> None:
    least = plan(path, Memory(HOST, device=2**40), ctx_size=MIN_CELLS, kv_tokens=MIN_CELLS)
    made = plan(path, Memory(HOST, device=least.estimate.device - 1))
    assert 0 < made.num_gpu_layers < 3
    assert made.params.num_cells >= MIN_CELLS
    assert made.estimate.device < least.estimate.device


@pytest.mark.usefixtures("gpu")
def test_layers_that_were_set_and_do_not_fit_are_refused(path: Path) -> None:
    with pytest.raises(NotEnoughMemory, match="Set --gpu-layers to auto, or to fewer"):
        plan(path, Memory(HOST, device=1_000_000), gpu_layers=3)
