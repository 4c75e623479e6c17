from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from contexts import assert_close, context_of, ids, row, rows

from llmd.errors import ContextRefused
from llmd.llama.batch import LlamaBatch
from llmd.llama.context import DecodeStatus
from llmd.llama.model import LlamaModel

pytestmark = pytest.mark.gguf


@pytest.fixture(scope="module", params=["llama", "gemma3", "mamba", "lfm2"])
def model(zoo: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[LlamaModel]:
    model = LlamaModel(zoo[request.param])
    yield model
    model.free()


@pytest.fixture(scope="module")
def llama(llama_path: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(llama_path)
    yield model
    model.free()


def test_sequences_in_one_batch_do_not_see_each_other(model: LlamaModel) -> None:
    texts = [ids(model, "the water is hot"), ids(model, "a house on the land"), ids(model, "air")]
    alone = []
    for tokens in texts:
        with context_of(model) as context:
            alone.append(row(context, 0, 0, tokens))
    with context_of(model) as context:
        together = rows(context, *((i, 0, tokens) for i, tokens in enumerate(texts)))
    for one, other in zip(alone, together, strict=True):
        assert_close(one, other)
    assert not np.allclose(alone[0], alone[1], atol=0.1)


def test_a_prompt_in_chunks_is_a_prompt_in_one(model: LlamaModel) -> None:
    tokens = ids(model, "the water is hot and a house stands on the land by the sea")
    with context_of(model) as context:
        whole = row(context, 0, 0, tokens)
        row(context, 1, 0, tokens[:7])
        for place in range(7, len(tokens)):
            last = row(context, 1, place, [tokens[place]])
        assert_close(whole, last)


def test_rows_come_in_batch_order_for_every_token_that_wants_one(llama: LlamaModel) -> None:
    tokens = ids(llama, "the water is hot")
    with context_of(llama) as context:
        single = [row(context, 0, place, [token]) for place, token in enumerate(tokens)]
        batch = LlamaBatch(256)
        batch.add(1, 0, tokens, len(tokens) - 1)
        batch.add(2, 0, tokens[:2], 1)
        assert context.decode(batch, len(tokens)) is DecodeStatus.OK
        for index, expected in enumerate([*single[1:], single[1]]):
            assert_close(context.row(index), expected)


def test_what_is_truncated_is_forgotten(llama: LlamaModel) -> None:
    prompt, first, second = (ids(llama, text) for text in ("the water", " is hot", " was cold"))
    with context_of(llama) as context:
        row(context, 0, 0, prompt)
        expected = row(context, 0, len(prompt), second)
        row(context, 1, 0, prompt)
        row(context, 1, len(prompt), first)
        assert context.truncate(1, len(prompt))
        assert_close(row(context, 1, len(prompt), second), expected)


def test_recurrent_memory_can_only_be_dropped_whole(zoo: dict[str, Path]) -> None:
    for name in ("mamba", "lfm2"):
        model = LlamaModel(zoo[name])
        tokens = ids(model, "the water is hot")
        with context_of(model) as context:
            expected = row(context, 0, 0, tokens)
            assert not context.truncate(0, 2)
            assert context.truncate(0, 0)
            assert_close(row(context, 0, 0, tokens), expected)
        model.free()


def test_clear_forgets_every_sequence(model: LlamaModel) -> None:
    tokens = ids(model, "the water is hot")
    with context_of(model) as context:
        expected = row(context, 0, 0, tokens)
        row(context, 1, 0, tokens)
        context.clear()
        assert_close(rows(context, (0, 0, tokens), (1, 0, tokens))[1], expected)


def test_cells_that_run_out_are_told_and_change_nothing(llama: LlamaModel) -> None:
    with context_of(llama, num_cells=256) as context:
        assert context.num_cells == 256
        tokens = ids(llama, "the water")
        row(context, 0, 0, tokens)
        batch = LlamaBatch(256)
        batch.add(1, 0, [5] * 254, 1)
        assert context.decode(batch, 1) is DecodeStatus.NO_ROOM
        assert context.truncate(1, 0)
        batch.clear()
        batch.add(1, 0, [5] * 250, 1)
        assert context.decode(batch, 1) is DecodeStatus.OK


def test_a_hole_in_the_positions_fails_and_the_context_goes_on(llama: LlamaModel) -> None:
    tokens = ids(llama, "the water")
    with context_of(llama) as context:
        expected = row(context, 0, 0, tokens)
        batch = LlamaBatch(256)
        batch.add(1, 5, tokens, 1)
        context.decode(batch, 1)
        assert context.truncate(1, 0)
        assert_close(row(context, 1, 0, tokens), expected)


def test_cells_are_rounded_up(llama: LlamaModel) -> None:
    with context_of(llama, num_cells=300) as context:
        assert context.num_cells == 512


def test_there_may_be_more_sequences_than_rows(llama: LlamaModel) -> None:
    with context_of(llama, num_sequences=80, max_rows=4) as context:
        assert len(rows(context, (79, 0, ids(llama, "the water")))) == 1


def test_a_context_that_cannot_be_made_is_refused_with_reason_and_cure(llama: LlamaModel) -> None:
    with (
        pytest.raises(ContextRefused, match=r"V cache.*--flash-attn auto.*--kv-tokens"),
        context_of(llama, cache_type_v="q8_0", flash_attention="off"),
    ):
        pass


def test_freeing_twice_is_harmless(llama: LlamaModel) -> None:
    with context_of(llama) as context:
        context.free()
