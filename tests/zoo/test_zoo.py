from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import llama_cpp
import pytest

from zoo.bert import write_bert
from zoo.broken import BrokenKind, write_broken
from zoo.gemma3 import write_gemma3
from zoo.lfm2 import write_lfm2
from zoo.llama import (
    write_bytes_llama,
    write_coder_llama,
    write_llama,
    write_scripted_llama,
)
from zoo.mamba import write_mamba
from zoo.qwen3 import write_qwen3
from zoo.qwen35 import write_qwen35
from zoo.vocabulary import bpe_vocabulary, spm_vocabulary

pytestmark = pytest.mark.gguf

PROMPT = b"the water is 42% hot"


@contextmanager
def loaded(path: Path) -> Iterator[llama_cpp.llama_model_p | None]:
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    try:
        yield model
    finally:
        if model:
            llama_cpp.llama_model_free(model)


def tokenize(model: llama_cpp.llama_model_p, text: bytes) -> list[int]:
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    tokens = (llama_cpp.llama_token * 256)()
    count = llama_cpp.llama_tokenize(vocabulary, text, len(text), tokens, 256, True, True)
    return list(tokens[:count])


def piece(model: llama_cpp.llama_model_p, token: int) -> bytes:
    buffer = ctypes.create_string_buffer(64)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    length = llama_cpp.llama_token_to_piece(vocabulary, token, buffer, 64, 0, True)
    return buffer.raw[:length]


def generate(model: llama_cpp.llama_model_p, prompt: bytes, num_tokens: int) -> list[int]:
    """Greedy tokens, at most `num_tokens`, up to and with the one that ends the generation."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 256, 1, 1
    context = llama_cpp.llama_init_from_model(model, params)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    sampler = llama_cpp.llama_sampler_init_greedy()
    tokens, generated = tokenize(model, prompt), list[int]()
    while len(generated) < num_tokens:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        assert (
            llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) == 0
        )
        token = llama_cpp.llama_sampler_sample(sampler, context, -1)
        generated.append(token)
        tokens = [token]
        if llama_cpp.llama_vocab_is_eog(vocabulary, token):
            break
    llama_cpp.llama_sampler_free(sampler)
    llama_cpp.llama_free(context)
    return generated


@pytest.mark.parametrize(
    "write",
    [
        write_llama,
        write_bytes_llama,
        write_coder_llama,
        write_gemma3,
        write_mamba,
        write_lfm2,
        write_qwen3,
        write_qwen35,
    ],
)
def test_every_model_loads_and_generates(write: Callable[[Path], Path], tmp_path: Path) -> None:
    with loaded(write(tmp_path / "model.gguf")) as model:
        assert model
        assert len(generate(model, PROMPT, 8)) == 8


@pytest.mark.parametrize("kind", [kind for kind in BrokenKind if kind != BrokenKind.BAD_TEMPLATE])
def test_a_broken_file_does_not_load(kind: BrokenKind, tmp_path: Path) -> None:
    with loaded(write_broken(kind, tmp_path / "broken.gguf")) as model:
        assert not model


def test_a_bad_template_loads_all_the_same(tmp_path: Path) -> None:
    with loaded(write_broken(BrokenKind.BAD_TEMPLATE, tmp_path / "broken.gguf")) as model:
        assert model


@pytest.mark.parametrize("pre", ["gpt-2", "qwen2"])
def test_a_byte_level_vocabulary_reaches_its_words(pre: str, tmp_path: Path) -> None:
    vocabulary = bpe_vocabulary(pre)
    with loaded(write_llama(tmp_path / "model.gguf", vocabulary=vocabulary)) as model:
        assert model
        tokens = tokenize(model, b" water<|im_end|>")
    assert tokens == [vocabulary.id_of("\u0120water"), vocabulary.eot]


def test_a_sentencepiece_vocabulary_reaches_its_words(tmp_path: Path) -> None:
    vocabulary = spm_vocabulary()
    with loaded(write_llama(tmp_path / "model.gguf")) as model:
        assert model
        tokens = tokenize(model, b"water house<|im_end|>")
    assert tokens == [
        vocabulary.bos,
        vocabulary.id_of("\u2581water"),
        vocabulary.id_of("\u2581house"),
        vocabulary.eot,
    ]


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    first = write_llama(tmp_path / "first.gguf", seed=7)
    second = write_llama(tmp_path / "second.gguf", seed=7)
    assert first.read_bytes() == second.read_bytes()


def test_a_wordpiece_vocabulary_knows_words_and_what_is_inside_of_them(tmp_path: Path) -> None:
    with loaded(write_bert(tmp_path / "model.gguf")) as model:
        assert model
        pieces = [piece(model, token) for token in tokenize(model, b"the water is 42% hot")]
    expected = [b"[CLS]", b" the", b" water", b" is", b" 4", b"2", b" %", b" hot", b"[SEP]"]
    assert pieces == expected


def test_a_script_is_spoken_to_its_end(tmp_path: Path) -> None:
    script = ["<think>", "hm, caf\u00e9", "</think>", "42 ", "it is"]
    with loaded(write_scripted_llama(tmp_path / "model.gguf", script)) as model:
        assert model
        tokens = generate(model, b"<|im_start|>user\nhow many?<|im_end|>\n", 32)
        text = b"".join(piece(model, token) for token in tokens)
    assert text.decode() == "<think>hm, caf\u00e9</think>42 it is<|im_end|>"


def test_the_bytes_model_speaks_broken_text(tmp_path: Path) -> None:
    with loaded(write_bytes_llama(tmp_path / "model.gguf")) as model:
        assert model
        text = b"".join(piece(model, token) for token in generate(model, PROMPT, 64))
    assert "\ufffd" in text.decode("utf-8", "replace")
