from __future__ import annotations

from dataclasses import replace

import pytest

from llmd.config.memory import AvailableMemory
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.errors import NotEnoughMemory

GIB = 2**30

HOST = AvailableMemory(10 * GIB, "cgroup limit 16.0 GiB")

ESTIMATE = MemoryEstimate(
    weights=6 * GIB,
    cache=2 * GIB,
    compute=GIB,
    other=GIB // 2,
    prompt_cache=4 * GIB,
    device=4 * GIB,
    device_weights=3 * GIB,
    device_cache=GIB,
)
"""9.5 GiB, of which 5.5 on the host."""


def on_host(weights: int) -> MemoryEstimate:
    return replace(ESTIMATE, weights=weights, device=0, device_weights=0, device_cache=0)


def test_host_and_gpus_must_each_hold_their_part() -> None:
    assert (ESTIMATE.total, ESTIMATE.host) == (19 * GIB // 2, 11 * GIB // 2)
    assert Memory(HOST, device=4 * GIB).holds(ESTIMATE)
    assert not Memory(HOST, device=4 * GIB - 1).holds(ESTIMATE)
    small = replace(HOST, num_bytes=ESTIMATE.host - 1)
    assert not Memory(small, device=8 * GIB).holds(ESTIMATE)


def test_a_gpu_without_memory_of_its_own_takes_the_hosts() -> None:
    shared = Memory(replace(HOST, num_bytes=9 * GIB), device=8 * GIB, device_shares_host=True)
    assert not shared.holds(ESTIMATE)


def test_a_budget_bounds_both_together() -> None:
    assert not Memory(HOST, device=8 * GIB, budget=9 * GIB).holds(ESTIMATE)
    assert Memory(HOST, device=8 * GIB, budget=10 * GIB).holds(ESTIMATE)


@pytest.mark.parametrize(
    ("memory", "estimate", "message"),
    [
        (Memory(HOST), on_host(7 * GIB),
         "m.gguf takes 10.5 GiB (weights 7.0 GiB, KV cache 2.0 GiB, buffers 1.5 GiB), and only "
         "10.0 GiB of memory is free (cgroup limit 16.0 GiB). Set a smaller --ctx-size, or free "
         "memory."),
        (Memory(HOST), on_host(12 * GIB), "Use a smaller quantization, or free memory."),
        (Memory(HOST, budget=8 * GIB), on_host(6 * GIB),
         "only 8.0 GiB of memory is free (what --memory-budget leaves for it)"),
        (Memory(HOST, device=GIB), ESTIMATE,
         "the GPU layers of m.gguf take 4.0 GiB, and 1.0 GiB of GPU memory are to be had. Set "
         "--gpu-layers to auto, or to fewer."),
    ],
    ids=["cache", "weights", "budget", "device"],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_numbers_and_a_cure(
    memory: Memory, estimate: MemoryEstimate, message: str
) -> None:
    with pytest.raises(NotEnoughMemory) as raised:
        memory.check(estimate, name="m.gguf", flags="--ctx-size")
    assert message in raised.value.message


def test_the_systems_own_memory_is_asked() -> None:
    memory = Memory.now(budget=GIB)
    assert memory.host_bytes <= GIB
    assert Memory.now().host_bytes > 0
