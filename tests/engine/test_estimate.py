"""What is planned from a header, against what llama.cpp says of the loaded model."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from zoo.bert import write_bert
from zoo.gemma3 import write_gemma3
from zoo.lfm2 import write_lfm2
from zoo.llama import write_llama
from zoo.mamba import write_mamba
from zoo.qwen3 import write_qwen3
from zoo.qwen35 import write_qwen35

from llmd.config.memory import AvailableMemory
from llmd.config.settings import ModelSettings
from llmd.engine.estimate import estimate, make_plan
from llmd.engine.fit import NativeFacts, shape_of
from llmd.engine.loading import load_engine
from llmd.engine.memory import Memory
from llmd.engine.plan import Plan
from llmd.engine.pooling_plan import PoolingPlan
from llmd.llama.context import LlamaContext
from llmd.llama.model import LlamaModel
from llmd.llama.pooling_context import PoolingContext
from llmd.store.memory_need import ContextNeed, MemoryNeed
from llmd.store.model_file import read_model_file

pytestmark = pytest.mark.gguf

WRITERS: dict[str, Callable[[Path], Path]] = {
    "llama": write_llama,
    "qwen3": write_qwen3,
    "gemma3": write_gemma3,
    "mamba": write_mamba,
    "lfm2": write_lfm2,
    "qwen35": write_qwen35,
}

PLENTY = Memory(AvailableMemory(2**40, "more than enough"))

SHAPES: list[dict[str, Any]] = [
    {"kv_tokens": 4096},
    {"kv_tokens": 16384, "ctx_size": 16384, "flash_attn": "off", "parallel": 4},
    {"kv_tokens": 1000, "batch_size": 64, "ubatch_size": 64, "parallel": 2, "swa_full": False},
    {"kv_tokens": 4096, "cache_type_k": "f32", "cache_type_v": "q8_0", "parallel": 60},
]

_BUFFER = re.compile(r"(\S+) +buffer size = +([\d.]+) MiB")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("zoo")
    return {name: write(directory / f"{name}.gguf") for name, write in WRITERS.items()}


@contextmanager
def buffers(caplog: pytest.LogCaptureFixture) -> Iterator[dict[str, float]]:
    """MiB of each kind of buffer that llama.cpp logs inside the block."""
    sizes: dict[str, float] = {}
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "llmd.llama"):
        yield sizes
    for kind, size in _BUFFER.findall(caplog.text):
        sizes[kind] = sizes.get(kind, 0.0) + float(size)


def assert_holds(need: ContextNeed, native: dict[str, float]) -> None:
    """Caches to the byte, as far as the log is exact; compute buffers as a close upper bound."""
    assert need.cache / 2**20 == pytest.approx(
        native.get("KV", 0.0) + native.get("RS", 0.0), abs=0.02
    )
    assert need.output / 2**20 >= native["output"] - 0.01
    # Graphs and lists are no part of llama.cpp's buffer.
    compute = (need.compute - need.graph) / 2**20
    assert native["compute"] * 0.95 <= compute <= native["compute"] * 1.3 + 0.5


@pytest.mark.parametrize("fields", SHAPES, ids=["pool", "no-flash", "small-steps", "cache-types"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_context_takes_what_was_planned(
    name: str,
    fields: dict[str, Any],
    paths: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = read_model_file(paths[name])
    plan = make_plan(file, ModelSettings(threads=1, **fields), PLENTY)
    assert isinstance(plan, Plan)
    model = LlamaModel(file.path)
    with buffers(caplog) as native:
        LlamaContext(model, plan.params).free()
    assert file.generates_text == model.generates_text
    assert NativeFacts.stated(file) == NativeFacts.of(model, looks_ahead=False)
    assert plan.estimate.weights == model.num_bytes
    model.free()
    need = MemoryNeed.of(file)
    assert_holds(need.of_context(shape_of(need, plan.params)), native)


@pytest.mark.parametrize("flash_attn", ["auto", "off"])
@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_an_embedding_context_takes_what_was_planned(
    name: str, flash_attn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write = write_bert if name == "bert" else write_qwen3
    file = read_model_file(write(tmp_path / "model.gguf", context_length=1024))
    settings = ModelSettings(threads=1, embeddings=True, flash_attn=flash_attn)
    plan = make_plan(file, settings, PLENTY)
    assert isinstance(plan, PoolingPlan)
    model = LlamaModel(file.path)
    with buffers(caplog) as native:
        PoolingContext(model, plan.params).free()
    model.free()
    assert plan.estimate.cache / 2**20 == pytest.approx(native.get("KV", 0.0), abs=0.02)
    compute = plan.estimate.compute / 2**20
    assert native["compute"] + native["output"] <= compute <= native["compute"] * 1.5 + 25


def test_a_loaded_model_takes_what_was_estimated(llama_path: Path) -> None:
    settings = ModelSettings(threads=1)
    memory = Memory(AvailableMemory(2**30, "as the test says"))
    engine, model = load_engine(llama_path, settings, lambda _share: True, memory)
    engine.close()
    assert model.estimate == estimate(llama_path, settings, memory)


def test_what_is_free_bounds_a_load_that_was_planned_for_more(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = AvailableMemory(40_000_000, "as the test says")
    monkeypatch.setattr("llmd.engine.memory.available_memory", lambda: free)
    engine, model = load_engine(llama_path, ModelSettings(threads=1), lambda _share: True, PLENTY)
    engine.close()
    assert (
        model.estimate.total
        <= free.num_bytes
        < estimate(llama_path, ModelSettings(threads=1), PLENTY).total
    )
