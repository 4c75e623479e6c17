from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from zoo.llama import write_llama

from llmd.config.memory import AvailableMemory
from llmd.config.settings import ModelSettings
from llmd.engine import opening
from llmd.engine.memory import Memory
from llmd.engine.opening import ModelOpening, OpenedModel, probe
from llmd.errors import NotEnoughMemory
from llmd.llama.batch import LlamaBatch
from llmd.llama.context import ContextParams, DecodeStatus, LlamaContext
from llmd.llama.model import LlamaModel
from llmd.store.model_file import read_model_file

pytestmark = pytest.mark.gguf

PLENTY = Memory(AvailableMemory(2**40, "more than enough"))


def opened(path: Path, **fields: Any) -> OpenedModel:
    settings = ModelSettings(threads=1, **fields)
    found = ModelOpening(read_model_file(path), settings, PLENTY, lambda _share: True).open()
    assert isinstance(found, OpenedModel)
    return found


def close(found: OpenedModel) -> None:
    found.context.free()
    found.model.free()


def refuse_above(num_cells: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lets contexts fail, as on a full GPU, whose pools are larger. Returns the sizes tried."""
    tried = []

    class SmallContext(LlamaContext):
        def __init__(self, model: LlamaModel, params: ContextParams) -> None:
            tried.append(params.num_cells)
            if params.num_cells > num_cells:
                raise NotEnoughMemory("failed to allocate a buffer. Use less.")
            super().__init__(model, params)

    monkeypatch.setattr(opening, "LlamaContext", SmallContext)
    return tried


def test_a_pool_that_cannot_be_had_is_halved_and_told(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = refuse_above(5000, monkeypatch)
    with caplog.at_level(logging.WARNING):
        found = opened(llama_path, parallel=8)
    close(found)
    assert tried == [16384, 8192, 4096]
    assert (found.context.num_cells, found.plan.context_size) == (4096, 2048)
    assert [record.message for record in caplog.records] == [
        f"failed to allocate a buffer. Use less. Trying again with a KV pool of {size} tokens."
        for size in (8192, 4096)
    ]
    pool = {row.name: f"{row.value}: {row.reason}" for row in found.plan.effective}["KV pool"]
    assert pool == "4096 tokens: it did not run with more"


def test_the_context_gives_way_after_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_llama(tmp_path / "model.gguf", context_length=20_000)
    refuse_above(6000, monkeypatch)
    found = opened(path, parallel=2)
    close(found)
    assert found.plan.context_size == found.plan.params.num_cells == 5120


def test_weights_are_read_once_however_often_a_pool_fails(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_above(5000, monkeypatch)
    loads = []

    class CountedModel(LlamaModel):
        def __init__(self, path: Path, **options: Any) -> None:
            loads.append(options["num_gpu_layers"])
            super().__init__(path, **options)

    monkeypatch.setattr(opening, "LlamaModel", CountedModel)
    close(opened(llama_path, parallel=8))
    assert loads == [0]


def test_what_was_set_is_refused_at_once(llama_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = refuse_above(100, monkeypatch)
    with pytest.raises(NotEnoughMemory):
        opened(llama_path, kv_tokens=4096)
    assert tried == [4096]


def test_the_least_that_fails_too_is_an_error(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = refuse_above(100, monkeypatch)
    with pytest.raises(NotEnoughMemory):
        opened(llama_path, parallel=2)
    assert tried == [4096, 2048]


def test_a_probe_leaves_nothing_behind(llama_path: Path) -> None:
    found = opened(llama_path, parallel=3)
    probe(found.context, found.plan)
    batch = LlamaBatch(1)
    batch.add(0, 0, [5], 1)
    assert found.context.decode(batch, 1) is DecodeStatus.OK
    close(found)


def test_a_step_that_cannot_be_computed_fails_the_probe(llama_path: Path) -> None:
    found = opened(llama_path, kv_tokens=1024)
    context = found.context
    batch = LlamaBatch(512)
    # A pool that is in use has no room for a first step.
    for start in range(0, context.num_cells, 512):
        batch.clear()
        batch.add(0, start, [5] * 512, 1)
        assert context.decode(batch, 0) is DecodeStatus.OK
    with pytest.raises(NotEnoughMemory, match=r"a first step of 512 tokens.*--gpu-layers"):
        probe(context, found.plan)
    close(found)
