from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from zoo.broken import BrokenKind, write_broken
from zoo.llama import write_llama

from llmd.config.memory import AvailableMemory
from llmd.config.sampling_defaults import SamplingDefaults
from llmd.config.settings import ModelSettings
from llmd.engine import memory
from llmd.engine.estimate import estimate
from llmd.engine.loading import LoadedModel, load_engine, sampling_defaults
from llmd.engine.memory import Memory
from llmd.errors import ContextRefused, InvalidModelFile, NotEnoughMemory

pytestmark = pytest.mark.gguf

SetMemory = Callable[[int], None]


@pytest.fixture
def set_memory(monkeypatch: pytest.MonkeyPatch) -> SetMemory:
    """Sets how many bytes are free."""

    def set_to(num_bytes: int) -> None:
        found = AvailableMemory(num_bytes, "as the test says")
        monkeypatch.setattr(memory, "available_memory", lambda: found)

    return set_to


@contextmanager
def loaded(path: Path, **fields: Any) -> Iterator[LoadedModel]:
    engine, model = load_engine(path, ModelSettings(threads=1, **fields), lambda share: True)
    try:
        yield model
    finally:
        engine.close()


def needed(path: Path, num_cells: int) -> int:
    """What a model takes with a pool of that size."""
    memory = Memory(AvailableMemory(2**40, "more than enough"))
    settings = ModelSettings(threads=1, ctx_size=num_cells, kv_tokens=num_cells)
    return estimate(path, settings, memory).total


def effective(model: LoadedModel) -> dict[str, str]:
    return {row.flag: f"{row.value} | {row.reason}" for row in model.effective}


def test_the_context_is_the_models_own_where_memory_allows(
    llama_path: Path, set_memory: SetMemory
) -> None:
    set_memory(1 << 30)
    with loaded(llama_path, parallel=4) as model:
        assert (model.context_size, model.num_sequences, model.num_cells) == (2048, 4, 4 * 2048)
        rows = effective(model)
    assert rows["--ctx-size"] == "2048 | what the model was trained for"
    assert rows["--parallel"] == "4 | as set"
    assert rows["--kv-tokens"].startswith("8192 tokens | 4 x 2048")


def test_little_memory_makes_the_context_smaller(llama_path: Path, set_memory: SetMemory) -> None:
    set_memory(needed(llama_path, 768))
    with loaded(llama_path) as model:
        assert model.context_size == model.num_cells == 768
        assert "what memory allows of the 2048" in effective(model)["--ctx-size"]


def test_the_pool_is_bounded_by_memory(llama_path: Path, set_memory: SetMemory) -> None:
    set_memory(needed(llama_path, 2560))
    with loaded(llama_path) as model:
        assert (model.context_size, model.num_cells) == (2048, 2560)


def test_what_is_set_holds_and_says_so(llama_path: Path) -> None:
    with loaded(llama_path, ctx_size=4096, kv_tokens=8192, batch_size=128) as model:
        assert (model.context_size, model.num_cells) == (4096, 8192)
        rows = effective(model)
    assert rows["--ctx-size"] == "4096 | as set, beyond the 2048 it was trained for"
    assert rows["--kv-tokens"] == "8192 tokens | as set"
    assert rows["--threads"].startswith("1 | as set")
    assert rows["--batch-size"].startswith("128 ")


def test_a_pool_below_the_context_bounds_it(llama_path: Path) -> None:
    with loaded(llama_path, ctx_size=2048, kv_tokens=512) as model:
        assert model.context_size == model.num_cells == 512
        assert effective(model)["--ctx-size"] == "512 | --kv-tokens bounds it"


def test_every_effective_value_names_a_reason_and_a_way_to_change_it(llama_path: Path) -> None:
    with loaded(llama_path) as model:
        assert all(row.name and row.value and row.reason and row.flag for row in model.effective)


def test_the_files_sampling_defaults_lie_below_the_configurations(tmp_path: Path) -> None:
    recommended = {"temp": 0.5, "top_k": 20, "min_p": 0.25, "penalty_repeat": 1.5}
    path = write_llama(tmp_path / "model.gguf", sampling=recommended)
    with loaded(path, sampling=SamplingDefaults(top_k=7)) as model:
        sampling = model.sampling
    assert sampling.temperature == pytest.approx(0.5)
    assert sampling.top_k == 7
    assert (sampling.min_p, sampling.repeat_penalty) == (0.25, 1.5)
    assert sampling.top_p == 0.95, "neither says anything: llmd's own"


def test_all_sampling_keys_of_a_file_are_read() -> None:
    keys = {"temp": "0.5", "top_k": "20", "top_p": "0.9", "min_p": "0.1", "xtc_probability": "0.2",
            "xtc_threshold": "0.3", "penalty_last_n": "32", "penalty_repeat": "1.1",
            "mirostat": "2", "mirostat_tau": "4", "mirostat_eta": "0.2"}  # fmt: skip
    found = sampling_defaults({f"general.sampling.{key}": text for key, text in keys.items()})
    assert found == {
        "temperature": 0.5, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "xtc_probability": 0.2,
        "xtc_threshold": 0.3, "repeat_last_n": 32, "repeat_penalty": 1.1, "mirostat": 2,
        "mirostat_tau": 4.0, "mirostat_eta": 0.2,
    }  # fmt: skip


def test_a_model_larger_than_memory_is_refused_before_it_is_read(
    llama_path: Path, set_memory: SetMemory
) -> None:
    set_memory(1000)
    with pytest.raises(NotEnoughMemory, match=r"as the test says.*smaller quantization"):
        load_engine(llama_path, ModelSettings(), lambda share: pytest.fail("it was read"))


def test_a_context_that_cannot_be_made_frees_the_model(llama_path: Path) -> None:
    settings = ModelSettings(threads=1).model_copy(
        update={"cache_type_v": "q8_0", "flash_attn": "off"}
    )
    with pytest.raises(ContextRefused):
        load_engine(llama_path, settings, lambda share: True)


def test_a_broken_file_raises_what_the_loader_raises(tmp_path: Path) -> None:
    path = write_broken(BrokenKind.TRUNCATED, tmp_path / "broken.gguf")
    with pytest.raises(InvalidModelFile):
        load_engine(path, ModelSettings(), lambda share: True)


def test_the_fingerprint_tells_models_and_cache_types_apart(
    llama_path: Path, zoo: dict[str, Path]
) -> None:
    prints = []
    for path, fields in (
        (llama_path, {}),
        (llama_path, {}),
        (llama_path, {"cache_type_k": "q8_0"}),
        (zoo["gemma3"], {}),
    ):
        with loaded(path, ctx_size=256, **fields) as model:
            prints.append(model.fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba", "lfm2", "bytes"])
def test_every_kind_of_model_loads_with_the_defaults(name: str, zoo: dict[str, Path]) -> None:
    with loaded(zoo[name]) as model:
        assert model.architecture == ("llama" if name == "bytes" else name)
        assert model.context_size == model.train_context_length == 2048
