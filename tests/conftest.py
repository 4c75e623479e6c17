"""Tiny models, written once for all tests, and servers over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live import LiveServer, serving
from zoo.gemma3 import write_gemma3
from zoo.lfm2 import write_lfm2
from zoo.llama import write_bytes_llama, write_llama
from zoo.mamba import write_mamba

from llmd.config.model_reference import resolve
from llmd.config.settings import ModelSettings, ServerSettings
from llmd.registry.instance import ModelInstance

WRITERS: dict[str, Callable[[Path], Path]] = {
    "llama": write_llama,
    "gemma3": write_gemma3,
    "mamba": write_mamba,
    "lfm2": write_lfm2,
    "bytes": write_bytes_llama,
}

EXACT_SETTINGS = ModelSettings(
    threads=1,
    parallel=8,
    ctx_size=512,
    kv_tokens=4096,
    flash_attn="off",
    cache_type_k="f32",
    cache_type_v="f32",
)
"""With these a logit moves by 1e-5 at most with what else is in the batch, so that greedy text does
not depend on it; with flash attention or f16 caches it moves by 1e-2."""


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny GGUF of each kind by name."""
    directory = tmp_path_factory.mktemp("zoo")
    return {name: write(directory / f"{name}.gguf") for name, write in WRITERS.items()}


@pytest.fixture(scope="session")
def llama_path(zoo: dict[str, Path]) -> Path:
    return zoo["llama"]


@pytest.fixture(scope="session")
def llama_server(llama_path: Path) -> Iterator[LiveServer]:
    """The tiny llama behind the real API; shared, so a test leaves it as it was."""

    def make() -> ModelInstance:
        return ModelInstance("tiny-llama", llama_path, EXACT_SETTINGS)

    with serving(make, ServerSettings(max_body_bytes=200_000)) as server:
        yield server


@pytest.fixture(scope="session")
def bundled_server() -> Iterator[LiveServer]:
    """The bundled model, as `llmd serve` runs it, behind the real API."""

    def make() -> ModelInstance:
        return ModelInstance("tiny", resolve("tiny"), ModelSettings())

    with serving(make) as server:
        yield server
