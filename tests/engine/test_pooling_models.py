"""The pooling engine over real llama.cpp, against llama.cpp's own result for each text alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from direct import Array, cosine, direct
from words import WORDS
from zoo.bert import MEAN, write_bert
from zoo.gemma3 import write_gemma3
from zoo.lfm2 import write_lfm2
from zoo.llama import write_llama
from zoo.mamba import write_mamba
from zoo.qwen3 import write_qwen3

from llmd.config.settings import ModelSettings
from llmd.core.output import FinishReason, Output
from llmd.engine.loading import LoadedModel, load_engine
from llmd.engine.pooling import PoolingEngine
from llmd.engine.request import PoolingRequest

pytestmark = pytest.mark.gguf

LENGTHS = (3, 90, 1, 17, 5, 200, 2, 40, 8, 120, 1, 33)
TEXTS = tuple(
    " ".join(WORDS[(7 * index + word) % len(WORDS)] for word in range(length))
    for index, length in enumerate(LENGTHS)
)

MODELS: dict[str, Callable[[Path], Path]] = {
    "bert": write_bert,
    "qwen3": write_qwen3,
    "llama": write_llama,
    "gemma3": write_gemma3,
    "gemma-embedding": partial(write_gemma3, architecture="gemma-embedding"),
    "mamba": write_mamba,
    "lfm2": write_lfm2,
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("pooling")
    return {name: write(directory / f"{name}.gguf") for name, write in MODELS.items()}


@contextmanager
def loaded(path: Path, **fields: Any) -> Iterator[tuple[PoolingEngine, LoadedModel]]:
    settings = ModelSettings(threads=1, **fields)
    engine, model = load_engine(path, settings, lambda share: True)
    assert isinstance(engine, PoolingEngine)
    try:
        yield engine, model
    finally:
        engine.close()


def finish(engine: PoolingEngine) -> list[Output]:
    outputs = []
    while not engine.is_idle:
        outputs += engine.step()
    return outputs


def tokens_of(model: LoadedModel, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    encode = model.tokenizer.encode
    return tuple(tuple(encode(text, add_special=True, parse_special=True)) for text in texts)


def pooled(engine: PoolingEngine, texts: tuple[tuple[int, ...], ...], **fields: Any) -> list[Array]:
    engine.add(PoolingRequest(id="r", texts=texts, **fields))
    (output,) = finish(engine)
    assert output.finish_reason is FinishReason.STOP, output.error
    return [np.array(vector, np.float32) for vector in output.vectors]


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("bert", "mean"),
        ("bert", "cls"),
        ("bert", "last"),
        ("qwen3", "mean"),
        ("qwen3", "cls"),
        ("qwen3", "last"),
        ("llama", "mean"),
        ("llama", "last"),
        ("gemma3", "mean"),
        ("gemma-embedding", "mean"),
        ("mamba", "mean"),
        ("mamba", "last"),
        ("lfm2", "last"),
    ],
)
@pytest.mark.parametrize("batch_size", [64, 512])
def test_embeddings_are_those_of_llama_cpp_whatever_else_is_in_the_batch(
    name: str, pooling: str, batch_size: int, paths: dict[str, Path]
) -> None:
    with direct(paths[name], pooling) as alone:
        expected = [alone.embedding(text) for text in TEXTS]
    with loaded(paths[name], pooling=pooling, batch_size=batch_size, ctx_size=512) as (
        engine,
        model,
    ):
        found = pooled(engine, tokens_of(model, TEXTS))
    assert min(map(cosine, found, expected)) >= 0.9999
    assert [float(np.linalg.norm(vector)) for vector in found] == pytest.approx([1] * len(TEXTS))


@pytest.mark.parametrize("attention", ["on", "off"])
def test_quantized_a_text_alone_is_what_llama_cpp_makes_of_it_to_the_last_bit(
    attention: str, tmp_path: Path
) -> None:
    path = write_bert(tmp_path / "model.gguf", is_quantized=True)
    with direct(path, "mean", flash_attention=attention == "on") as llama_cpp:
        expected = [llama_cpp.embedding(text) for text in TEXTS]
    with loaded(path, flash_attn=attention) as (engine, model):
        texts = tokens_of(model, TEXTS)
        alone = [pooled(engine, (text,))[0] for text in texts]
        together = pooled(engine, texts)
    np.testing.assert_array_equal(alone, expected)
    assert min(map(cosine, together, expected)) >= 0.9999


def test_that_a_model_looks_ahead_is_learned_from_llama_cpp(paths: dict[str, Path]) -> None:
    with loaded(paths["gemma-embedding"], pooling="mean", batch_size=64) as (engine, _):
        engine.add(PoolingRequest(id="r", texts=((5,) * 300,)))
        assert len(engine.step()) == 1, "it was computed in parts"


def test_a_text_as_long_as_the_context_is_embedded(paths: dict[str, Path]) -> None:
    for name, size in (("bert", 512), ("qwen3", 2048)):
        with loaded(paths[name], embeddings=True) as (engine, model):
            assert model.context_size == size
            tokens = tuple(4 + index % 60 for index in range(size))
            (vector,) = pooled(engine, (tokens,))
        with direct(paths[name], "mean" if name == "bert" else "last", context_length=size) as it:
            assert cosine(vector, it.values(tokens, len(vector))) >= 0.9999


def test_short_texts_pass_beside_a_long_one(paths: dict[str, Path]) -> None:
    with loaded(paths["qwen3"], embeddings=True, batch_size=64) as (engine, model):
        long = tuple(4 + index % 60 for index in range(1500))
        (expected,) = pooled(engine, (long,))
        engine.add(PoolingRequest(id="long", texts=(long,)))
        engine.step()
        engine.add(PoolingRequest(id="short", texts=tokens_of(model, TEXTS[:1])))
        outputs = finish(engine)
        assert [output.request_id for output in outputs] == ["short", "long"]
        assert cosine(np.array(outputs[1].vectors[0]), expected) >= 0.9999


def test_an_aborted_long_text_leaves_nothing_behind(paths: dict[str, Path]) -> None:
    with loaded(paths["qwen3"], embeddings=True, batch_size=64) as (engine, model):
        texts = tokens_of(model, TEXTS)
        expected = pooled(engine, texts)
        engine.add(PoolingRequest(id="long", texts=((5,) * 1500,)))
        engine.step()
        engine.abort("long")
        assert engine.is_idle
        assert min(map(cosine, pooled(engine, texts), expected)) >= 0.9999


def test_fewer_dimensions_are_the_first_ones_at_length_one(paths: dict[str, Path]) -> None:
    with loaded(paths["bert"]) as (engine, model):
        texts = tokens_of(model, TEXTS[:2])
        whole, cut = pooled(engine, texts), pooled(engine, texts, dimensions=8)
    for long, short in zip(whole, cut, strict=True):
        np.testing.assert_allclose(short, long[:8] / np.linalg.norm(long[:8]), atol=1e-6)


def test_what_a_file_says_of_its_pooling_holds(tmp_path: Path) -> None:
    path = write_bert(tmp_path / "model.gguf", pooling=MEAN)
    with loaded(path) as (_, model):
        assert model.pooling is not None
        assert (model.pooling.pooling.value, model.pooling.num_dimensions) == ("mean", 64)
        assert {row.name: row.reason for row in model.effective}["pooling"] == (
            "as the model file says"
        )
