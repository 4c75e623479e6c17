from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from gguf import GGUFWriter
from zoo.gemma3 import write_gemma3
from zoo.lfm2 import write_lfm2
from zoo.llama import write_llama
from zoo.qwen35 import write_qwen35

from llmd.errors import LlmdError
from llmd.store.layers import Layer
from llmd.store.memory_need import ContextShape, MemoryNeed
from llmd.store.model_file import ModelFile, read_model_file

SHAPE = ContextShape(num_cells=1024, num_sequences=2, max_rows=2, ubatch_size=128)


def need_of(path: Path) -> MemoryNeed:
    return MemoryNeed.of(read_model_file(path))


@pytest.fixture
def need(tmp_path: Path) -> MemoryNeed:
    """Two layers; of each token 32 numbers as keys and as many as values."""
    return need_of(write_llama(tmp_path / "model.gguf"))


def test_every_weight_is_counted_once(tmp_path: Path) -> None:
    file = read_model_file(write_llama(tmp_path / "model.gguf"))
    need = MemoryNeed.of(file)
    in_layers = sum(layer.weight_bytes for layer in need.layers)
    assert need.input_bytes + in_layers + need.output_bytes == need.weight_bytes
    assert need.weight_bytes == sum(tensor.num_bytes for tensor in file.tensors)
    assert need.shared_output_bytes == 0


def test_an_embedding_that_is_the_output_too_is_told(tmp_path: Path) -> None:
    need = need_of(write_llama(tmp_path / "model.gguf", without="output.weight"))
    assert need.shared_output_bytes == need.input_bytes > 0
    assert need.output_bytes == need.input_bytes + 4 * 64, "and the norm before it"


def test_weights_of_an_unknown_type_count_as_large_as_the_file(tmp_path: Path) -> None:
    file = read_model_file(write_llama(tmp_path / "model.gguf"))
    unknown = tuple(replace(tensor, type_id=999) for tensor in file.tensors)
    odd = ModelFile(file.header, unknown, file.num_bytes, file.num_parts)
    assert MemoryNeed.of(odd).weight_bytes == file.num_bytes


@pytest.mark.parametrize(
    ("type_k", "type_v", "per_number"),
    [("f16", "f16", 2 + 2), ("f32", "f16", 4 + 2), ("q8_0", "q4_0", 34 / 32 + 18 / 32)],
)
def test_a_cell_takes_what_its_types_take(
    type_k: str, type_v: str, per_number: float, need: MemoryNeed
) -> None:
    shape = replace(SHAPE, cache_type_k=type_k, cache_type_v=type_v)
    assert need.of_context(shape).layers == (1024 * 32 * per_number,) * 2


def test_pools_are_rounded_up_as_llama_cpp_does(need: MemoryNeed) -> None:
    exact, odd = (need.of_context(replace(SHAPE, num_cells=n)).cache for n in (1024, 1000))
    assert exact == odd


def test_a_window_bounds_the_cells_of_its_layers(tmp_path: Path) -> None:
    need = need_of(write_gemma3(tmp_path / "model.gguf", sliding_window=32))
    cells = [size // (2 * 2 * 32 * 2) for size in need.of_context(SHAPE).layers]
    assert cells == [256, 256, 256, 1024]  # 2 sequences x 32 + 128, rounded up
    whole = need.of_context(replace(SHAPE, window_is_full=True))
    assert len(set(whole.layers)) == 1


def test_without_flash_attention_all_values_are_as_wide_as_the_widest(need: MemoryNeed) -> None:
    mixed = replace(need, layers=(Layer(0, 64, 64, False, 0), Layer(0, 64, 16, False, 0)))
    narrow = mixed.of_context(SHAPE).layers
    padded = mixed.of_context(replace(SHAPE, flash_attention=False)).layers
    assert narrow == (1024 * 256, 1024 * 160)
    assert padded == (1024 * 256, 1024 * 256)


def test_states_are_counted_for_each_sequence(need: MemoryNeed) -> None:
    recurrent = replace(need, layers=(Layer(0, 0, 0, False, 100),))
    assert recurrent.of_context(replace(SHAPE, num_sequences=7)).cache == 700


def test_masks_grow_with_pool_and_step(need: MemoryNeed) -> None:
    assert need.of_context(SHAPE).inputs == 2 * 1024 * 128
    assert need.of_context(replace(SHAPE, num_sequences=100)).inputs == 2 * 1024 * 200
    assert need.of_context(replace(SHAPE, flash_attention=False)).inputs == 4 * 1024 * 128


def test_rows_of_logits_are_as_long_as_the_vocabulary(need: MemoryNeed) -> None:
    assert need.of_context(replace(SHAPE, max_rows=9)).output == 4 * 9 * need.num_tokens
    embeds = need.of_context(replace(SHAPE, max_rows=9, embeds=True))
    assert embeds.output == 4 * 9 * (need.num_tokens + 64)


def test_a_file_that_says_next_to_nothing_needs_next_to_nothing(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf", "of-tomorrow")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    need = need_of(tmp_path / "model.gguf")
    assert (need.layers, need.weight_bytes) == ((), 0)
    assert need.of_context(SHAPE).cache == 0


@pytest.mark.parametrize("write", [write_gemma3, write_lfm2, write_qwen35])
def test_damaged_headers_end_in_numbers_or_in_clear_errors(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "model.gguf")
    data, random = path.read_bytes(), Random(0)
    # Where the architecture's own keys stand.
    start, end = data.index(b".context_length"), data.index(b"tokenizer.ggml.")
    for _ in range(100):
        place = random.randrange(start, end)
        changed = random.randbytes(random.choice((1, 4, 8)))
        path.write_bytes(data[:place] + changed + data[place + len(changed) :])
        try:
            need = need_of(path)
        except LlmdError:
            continue
        assert isinstance(need.of_context(SHAPE).cache, int)
