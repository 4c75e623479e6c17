from __future__ import annotations

import pytest

from llmd.config.memory import AvailableMemory
from llmd.config.settings import ModelSettings
from llmd.engine.fit import (
    NO_LIMITS,
    Limits,
    choose_gpu_layers,
    most_cells,
    place_layers,
    shrink,
)
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.llama import library
from llmd.store.layers import Layer
from llmd.store.memory_need import ContextShape, MemoryNeed

MIB = 2**20

NEED = MemoryNeed(
    layers=(Layer(100 * MIB, 512, 512, False, 0),) * 10,
    input_bytes=50 * MIB,
    output_bytes=50 * MIB,
    shared_output_bytes=50 * MIB,
    weight_bytes=1050 * MIB,
    window_length=0,
    is_recurrent=False,
    has_recurrent_state=False,
    num_tokens=1000,
    embedding_length=1024,
    num_heads=16,
    step_width=4096,
    state_copies=1,
    num_tensors=100,
    nodes_per_token=0,
    keeps_cells=True,
    output_length=1024,
)
"""Ten layers of 100 MiB, and an embedding of 50 MiB that serves as output too."""

SHAPE = ContextShape(num_cells=4096, num_sequences=1, max_rows=1, ubatch_size=512)
"""2 KiB for each cell and layer: 8 MiB a layer."""

CONTEXT = NEED.of_context(SHAPE)
BUFFERS = CONTEXT.compute - CONTEXT.graph


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "supports_gpu", lambda: True)


def memory(device: int) -> Memory:
    return Memory(AvailableMemory(2**40, "more than enough"), device)


@pytest.mark.parametrize(
    ("free", "num_layers"),
    [
        (0, 0),
        (50 * MIB + BUFFERS - 1, 0),
        (50 * MIB + BUFFERS, 1),
        (50 * MIB + BUFFERS + 3 * 108 * MIB, 4),
        (50 * MIB + BUFFERS + 10 * 108 * MIB - 1, 10),
        (50 * MIB + BUFFERS + 10 * 108 * MIB, 11),
        (2**50, 11),
    ],
)
def test_as_many_layers_go_to_gpus_as_have_room_with_their_cache(
    free: int, num_layers: int
) -> None:
    assert choose_gpu_layers(NEED, SHAPE, free) == num_layers


def test_nothing_on_gpus_takes_nothing_there() -> None:
    estimate = MemoryEstimate.of(NEED, CONTEXT, 0)
    assert (estimate.device, estimate.device_weights, estimate.device_cache) == (0, 0, 0)
    assert estimate.weights == 1050 * MIB
    assert estimate.cache == 80 * MIB


def test_all_on_gpus_leaves_the_embedding_and_the_rows_on_the_host() -> None:
    estimate = MemoryEstimate.of(NEED, CONTEXT, 11)
    assert estimate.device_weights == 1050 * MIB
    assert estimate.device_cache == 80 * MIB
    assert estimate.weights == 1100 * MIB, "the embedding is there twice"
    masks_and_graph = CONTEXT.inputs + CONTEXT.graph
    assert estimate.host == 50 * MIB + CONTEXT.output + masks_and_graph + NEED.vocabulary_bytes


def test_the_first_layer_that_goes_is_the_output() -> None:
    estimate = MemoryEstimate.of(NEED, CONTEXT, 1)
    assert (estimate.device_weights, estimate.device_cache) == (50 * MIB, 0)


def test_a_build_without_gpus_places_no_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "supports_gpu", lambda: False)
    placed = place_layers(NEED, SHAPE, ModelSettings(gpu_layers=5), memory(2**40), NO_LIMITS)
    assert placed == (0, "this build of llama-cpp-python is for the CPU")


@pytest.mark.usefixtures("with_gpu")
def test_layers_are_placed_by_what_is_set_else_by_what_is_free() -> None:
    auto, plenty = ModelSettings(), memory(2**40)
    assert place_layers(NEED, SHAPE, auto, memory(0), NO_LIMITS)[0] == 0
    assert place_layers(NEED, SHAPE, auto, plenty, NO_LIMITS) == (
        11,
        "all, in 1.0 TiB of GPU memory",
    )
    half = place_layers(NEED, SHAPE, auto, memory(600 * MIB), NO_LIMITS)
    assert half == (5, "of 11, as 600 MiB of GPU memory allow")
    assert place_layers(NEED, SHAPE, ModelSettings(gpu_layers=3), plenty, NO_LIMITS)[0] == 3
    assert place_layers(NEED, SHAPE, ModelSettings(gpu_layers=99), plenty, NO_LIMITS)[0] == 11


@pytest.mark.usefixtures("with_gpu")
def test_layers_that_did_not_run_are_not_placed_again() -> None:
    limited = place_layers(NEED, SHAPE, ModelSettings(), memory(2**40), Limits(None, 7))
    assert limited == (7, "of 11, as it did not run with more")


@pytest.mark.parametrize(
    ("room", "upper", "expected"),
    [(10_000, 4096, 4096), (3000, 4096, 2816), (100, 4096, 256), (10_000, 100, 256)],
)
def test_a_pool_is_the_largest_that_fits_in_whole_steps(
    room: int, upper: int, expected: int
) -> None:
    assert most_cells(lambda num_cells: num_cells <= room, upper) == expected


def test_what_failed_is_tried_again_with_less_until_nothing_is_left() -> None:
    tried = []
    limits: Limits | None = Limits(20_000, 20)
    while limits is not None:
        tried.append((limits.num_cells, limits.num_gpu_layers))
        limits = shrink(
            # A pool that is not limited is as large as before.
            num_cells=limits.num_cells or 9000,
            min_cells=4096,
            num_gpu_layers=limits.num_gpu_layers,
            num_layers=80,
        )
    assert tried == [
        (20_000, 20), (10_240, 20), (5120, 20), (4096, 20),
        (None, 10), (4608, 10), (4096, 10),
        (None, 0), (4608, 0), (4096, 0),
    ]  # fmt: skip


def test_what_was_set_is_not_made_smaller() -> None:
    layers = shrink(num_cells=None, min_cells=4096, num_gpu_layers=33, num_layers=32)
    assert layers == Limits(None, 29)
    assert shrink(num_cells=None, min_cells=0, num_gpu_layers=None, num_layers=32) is None


def test_limits_are_told_in_words() -> None:
    assert str(Limits(4096, 7)) == "a KV pool of 4096 tokens and 7 GPU layers"
    assert str(Limits(None, 0)) == "0 GPU layers"
