from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from zoo.bert import CLS, RANK, write_bert
from zoo.qwen3 import write_qwen3

from llmd.config.memory import AvailableMemory
from llmd.config.settings import ModelSettings
from llmd.core.embedding import Pooling
from llmd.engine.estimate import make_plan
from llmd.engine.loading import load_engine
from llmd.engine.memory import Memory
from llmd.engine.opening import ModelOpening, OpenedPoolingModel
from llmd.engine.pooling_plan import PoolingPlan, choose_pooling
from llmd.errors import InvalidModelFile, NotEnoughMemory
from llmd.store.model_file import read_model_file

pytestmark = pytest.mark.gguf


def chosen(path: Path, **fields: Any) -> Pooling | None:
    found = choose_pooling(read_model_file(path), ModelSettings(**fields))
    return None if found is None else found.pooling


def plan(path: Path, **fields: Any) -> PoolingPlan:
    settings = ModelSettings(threads=1, **fields)
    opening = ModelOpening(read_model_file(path), settings, Memory.now(), lambda _share: True)
    opened = opening.open()
    assert isinstance(opened, OpenedPoolingModel)
    opened.context.free()
    opened.model.free()
    return opened.plan


def planned(path: Path, memory: Memory, **fields: Any) -> PoolingPlan:
    made = make_plan(read_model_file(path), ModelSettings(threads=1, **fields), memory)
    assert isinstance(made, PoolingPlan)
    return made


def test_the_file_decides_how_a_model_pools(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    assert chosen(write_bert(path, pooling=CLS)) is Pooling.CLS
    assert chosen(write_bert(path, pooling=RANK)) is Pooling.RANK
    assert chosen(write_qwen3(path, pooling=3)) is Pooling.LAST
    assert chosen(write_qwen3(path)) is None


def test_what_it_leaves_open_is_what_is_usual(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    assert chosen(write_bert(path, pooling=None)) is Pooling.MEAN
    assert chosen(write_bert(path, pooling=0)) is Pooling.MEAN
    assert chosen(write_qwen3(path), embeddings=True) is Pooling.LAST


def test_the_setting_goes_before_the_file(tmp_path: Path) -> None:
    path = write_qwen3(tmp_path / "model.gguf", pooling=3)
    assert chosen(path, pooling="mean") is Pooling.MEAN
    assert chosen(path, pooling="none") is None


def test_an_encoder_cannot_do_without(tmp_path: Path) -> None:
    path = write_bert(tmp_path / "model.gguf")
    with pytest.raises(InvalidModelFile, match="Leave --pooling out"):
        chosen(path, pooling="none")


def test_scores_need_a_classification_head(tmp_path: Path) -> None:
    for path, cure in (
        (write_bert(tmp_path / "bert.gguf", pooling=RANK), "converted as a reranker"),
        (write_qwen3(tmp_path / "qwen3.gguf", pooling=RANK), "--pooling none"),
    ):
        with pytest.raises(InvalidModelFile, match=cure):
            load_engine(path, ModelSettings(threads=1), lambda share: True)


def test_a_batch_of_an_encoder_has_room_for_its_longest_text(tmp_path: Path) -> None:
    made = plan(write_bert(tmp_path / "model.gguf", context_length=1024))
    assert (made.looks_ahead, made.context_size, made.params.batch_size) == (True, 1024, 1024)


def test_a_pool_of_a_decoder_has_room_for_its_longest_text_beside_a_step(tmp_path: Path) -> None:
    made = plan(write_qwen3(tmp_path / "model.gguf", context_length=1024), embeddings=True)
    assert (made.looks_ahead, made.params.batch_size) == (False, made.step_tokens)
    assert made.params.num_cells == 1024 + made.step_tokens


def test_an_encoder_takes_nothing_beyond_its_positions(tmp_path: Path) -> None:
    path = write_bert(tmp_path / "model.gguf", context_length=128)
    assert plan(path, ctx_size=4096).context_size == 128
    assert plan(path, ctx_size=64).context_size == 64


def test_memory_bounds_the_context(tmp_path: Path) -> None:
    path = write_bert(tmp_path / "model.gguf", context_length=4096)
    plenty = Memory(AvailableMemory(2**40, "more than enough"))
    small = planned(path, plenty, ctx_size=1024).estimate
    # Of what the weights leave, a longest text may take half.
    just_enough = Memory(AvailableMemory(small.weights + 2 * small.compute, "as the test says"))
    made = planned(path, just_enough)
    assert made.context_size == 1024
    assert (
        "allows of the 4096" in {row.name: row.reason for row in made.effective}["context per text"]
    )


def test_a_context_that_was_set_is_refused_where_it_cannot_fit(tmp_path: Path) -> None:
    path = write_bert(tmp_path / "model.gguf", context_length=4096)
    with pytest.raises(NotEnoughMemory, match=r"KV|buffers.*smaller --ctx-size"):
        planned(path, Memory(AvailableMemory(4_000_000, "as the test says")), ctx_size=4096)


@pytest.mark.parametrize("batch_size", [1, 16, 4096])
def test_any_batch_size_makes_a_context(batch_size: int, tmp_path: Path) -> None:
    made = plan(write_bert(tmp_path / "model.gguf"), batch_size=batch_size)
    assert made.step_tokens == max(2, batch_size)
    assert made.params.num_sequences <= made.step_tokens
