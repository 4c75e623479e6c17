from __future__ import annotations

import pytest

from llmd.errors import ContextRefused, NotEnoughMemory
from llmd.llama import library


@pytest.fixture(autouse=True)
def _initialized() -> None:
    library.initialize()


def test_the_cpu_is_a_device() -> None:
    (cpu,) = [device for device in library.devices() if device.name == "CPU"]
    assert cpu.description and not cpu.is_gpu
    assert 0 < cpu.free <= cpu.total


def test_gpus_are_devices_that_layers_can_go_to() -> None:
    assert all(gpu.is_gpu for gpu in library.gpus())
    assert library.supports_gpu() or not library.gpus()


def test_integrated_gpus_count_where_there_are_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def device(name: str, *, is_gpu: bool, shares_host: bool) -> library.Device:
        return library.Device(name, name, 1, 2, is_gpu, shares_host)

    cpu = device("cpu", is_gpu=False, shares_host=True)
    integrated = device("integrated", is_gpu=True, shares_host=True)
    own = device("own", is_gpu=True, shares_host=False)
    monkeypatch.setattr(library, "devices", lambda: [cpu, integrated, own])
    assert library.gpus() == [own]
    monkeypatch.setattr(library, "devices", lambda: [cpu, integrated])
    assert library.gpus() == [integrated]


def test_features_are_told_by_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"CPU : SSE3 = 1 | AVX512 = 0 | CUDA : ARCHS = 900,1200 | USE_GRAPHS = 1 | "
    monkeypatch.setattr("llama_cpp.llama_print_system_info", lambda: text)
    assert library.features() == [("CPU", ["SSE3"]), ("CUDA", ["ARCHS 900,1200", "USE_GRAPHS"])]


def test_only_what_wants_memory_is_cured_by_less() -> None:
    lacking = library.no_context(
        ["ggml: failed to allocate CUDA0 buffer of size 1", "failed to initialize the context"],
        "a context of 4096 tokens",
        "a smaller --ctx-size",
    )
    assert isinstance(lacking, NotEnoughMemory)
    assert lacking.message.endswith("Try a smaller --ctx-size.")
    refused = library.no_context(["K cache type q8_0 does not divide 80"], "a context", "less")
    assert isinstance(refused, ContextRefused)
    assert "--cache-type-k f16" in refused.message
