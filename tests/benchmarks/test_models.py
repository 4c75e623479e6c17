from __future__ import annotations

import os
from pathlib import Path

import llama_cpp
import pytest
from models import SHAPES, make_model, tensor_shapes
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


def test_the_real_shape_has_its_number_of_parameters() -> None:
    sizes = tensor_shapes(SHAPES["qwen3-0.6b"]).values()
    total = sum(size[0] * (size[1] if len(size) > 1 else 1) for size in sizes)
    assert total == 596_049_920


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
