from __future__ import annotations

import math
import os
from pathlib import Path

import llama_cpp
import pytest
from models import make_model
from shapes import SHAPES, tensor_shapes
from vocabulary import CONTROL, build_vocabulary
from words import WORDS


def test_a_vocabulary_has_the_size_asked_for_without_repeats() -> None:
    vocabulary = build_vocabulary(4096)
    assert len(vocabulary.pieces) == len(set(vocabulary.pieces)) == len(vocabulary.types) == 4096


def test_every_word_is_reached_by_merges_of_known_pieces() -> None:
    vocabulary = build_vocabulary(4096)
    known = set(vocabulary.pieces)
    for merge in vocabulary.merges:
        left, right = merge.split(" ")
        assert {left, right, left + right} <= known


def test_nothing_readable_is_a_control_token() -> None:
    vocabulary = build_vocabulary(4096)
    assert CONTROL not in vocabulary.types[: vocabulary.num_readable]
    assert vocabulary.types[vocabulary.eot] == CONTROL


def test_a_vocabulary_too_small_says_so() -> None:
    with pytest.raises(ValueError, match="2,000 or more"):
        build_vocabulary(1000)


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("qwen3-0.6b", 596_049_920),
        ("lfm2-350m", 354_483_968),
        ("lfm2-1.2b", 1_170_340_608),
        ("qwen3.5-0.8b", 752_393_024),
    ],
)
def test_a_real_shape_has_its_number_of_parameters(name: str, num_parameters: int) -> None:
    sizes = tensor_shapes(SHAPES[name]).values()
    assert sum(math.prod(size) for size in sizes) == num_parameters


@pytest.mark.gguf
@pytest.mark.parametrize("name", ["toy-lfm2", "toy-qwen3.5"])
def test_a_hybrid_loads_and_is_told_as_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "toy.gguf"
    make_model(name, "F16", path)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        os.fsencode(path), llama_cpp.llama_model_default_params()
    )
    assert model
    is_hybrid = llama_cpp.llama_model_is_hybrid(model)
    llama_cpp.llama_model_free(model)
    assert is_hybrid


@pytest.mark.gguf
def test_a_quantized_model_loads_and_knows_the_words(tmp_path: Path) -> None:
    path = tmp_path / "toy.gguf"
    make_model("toy", "Q4_K_M", path)
    assert os.listdir(tmp_path) == ["toy.gguf"]
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        os.fsencode(path), llama_cpp.llama_model_default_params()
    )
    assert model
    text = "".join(f" {word}" for word in WORDS).encode()
    tokens = (llama_cpp.llama_token * 1024)()
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    count = llama_cpp.llama_tokenize(vocabulary, text, len(text), tokens, 1024, False, False)
    llama_cpp.llama_model_free(model)
    assert count == len(WORDS)
