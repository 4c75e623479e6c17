"""The runner over real llama.cpp."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contexts import assert_close, context_of, ids, params_of

from llmd.core.sampling import SamplingParams
from llmd.engine.batch import BatchItem
from llmd.engine.continuation import Continuation
from llmd.engine.governor import ThreadGovernor
from llmd.engine.request import Request
from llmd.engine.runner import ModelRunner, NoRoom, Runner
from llmd.engine.sampler import Sampler
from llmd.engine.sequence import Sequence
from llmd.engine.text import TextStream
from llmd.errors import NotEnoughMemory
from llmd.llama.context import LlamaContext
from llmd.llama.model import LlamaModel

pytestmark = pytest.mark.gguf

GREEDY = SamplingParams(temperature=0)
PROMPT = "the water is hot and a house stands on the land by the sea"


@pytest.fixture(params=["llama", "gemma3", "mamba", "lfm2"])
def model(zoo: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[LlamaModel]:
    model = LlamaModel(zoo[request.param])
    yield model
    model.free()


@pytest.fixture
def context(model: LlamaModel) -> Iterator[LlamaContext]:
    with context_of(model) as context:
        yield context


@pytest.fixture
def runner(model: LlamaModel, context: LlamaContext) -> Runner:
    return ModelRunner(model, context, batch_size=256, exact_params=params_of())


def sequence(model: LlamaModel, text: str, sequence_id: int, **fields: Any) -> Sequence:
    tokens = ids(model, text)
    return Sequence(
        request=Request(id="r", prompts=(tuple(tokens),), sampling=GREEDY, seed=1, **fields),
        index=0,
        arrival=0,
        tokens=tokens,
        num_prompt=len(tokens),
        max_tokens=8,
        continuation=Continuation(Sampler(GREEDY, model.tokenizer, None), model.tokenizer),
        text=TextStream(()),
        sequence_id=sequence_id,
    )


def item(sequence: Sequence, start: int = 0, end: int | None = None) -> BatchItem:
    """Tokens of a sequence, with a row for the last."""
    end = sequence.num_tokens if end is None else end
    return BatchItem(sequence, start, end - start, 1)


def test_rows_come_in_the_order_of_the_items(model: LlamaModel, runner: Runner) -> None:
    sequences = [sequence(model, text, id) for id, text in enumerate((PROMPT, "air", "a hand"))]
    together = [row.copy() for row in runner.forward(tuple(map(item, sequences)))]
    for each in sequences:
        runner.truncate(each.sequence_id or 0, 0)
    for each, expected in zip(sequences, together, strict=True):
        (alone,) = runner.forward((item(each),))
        assert_close(alone, expected)


def test_a_prefix_taken_from_memory_saves_computing_it(model: LlamaModel, runner: Runner) -> None:
    first, second = sequence(model, PROMPT, 0), sequence(model, PROMPT, 1)
    middle, end = 7, first.num_tokens
    runner.forward((item(first, 0, middle),))
    span, checkpoint = runner.save_span(0), runner.save_checkpoint(0)
    expected = runner.forward((item(first, middle, end),))[0].copy()
    runner.share(0, 1, 0, middle)
    assert runner.restore_checkpoint(1, checkpoint)
    (shared,) = runner.forward((item(second, middle, end),))
    assert_close(shared, expected)
    assert runner.restore_span(1, span, checkpoint)
    (restored,) = runner.forward((item(second, middle, end),))
    assert_close(restored, expected)


def test_a_runner_says_what_its_memory_can_do(model: LlamaModel, runner: Runner) -> None:
    first = sequence(model, PROMPT, 0)
    runner.forward((item(first),))
    assert runner.truncate(0, 3) == runner.memory.cuts
    assert (runner.save_checkpoint(0).size == 0) == runner.memory.cuts


def test_a_batch_without_cells_is_refused(llama_path: Path) -> None:
    model = LlamaModel(llama_path)
    with context_of(model, num_cells=256) as context:
        runner = ModelRunner(model, context, batch_size=256, exact_params=params_of())
        first, second = (sequence(model, " ".join([PROMPT] * 10), id) for id in (0, 1))
        runner.forward((item(first),))
        with pytest.raises(NoRoom):
            runner.forward((item(second),))
        runner.truncate(0, 0)
        assert np.isfinite(runner.forward((item(second),))[0]).all()
    model.free()


def test_only_what_runs_with_others_follows_the_free_processors(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(LlamaContext, "set_threads", lambda self, one, many: counts.append(one))
    now = itertools.count()
    governor = ThreadGovernor(  # of a machine where others take two processors of three
        3, 3, busy_seconds=lambda: 2.0 * next(now), own_seconds=float, clock=lambda: next(now)
    )
    model = LlamaModel(llama_path)
    with context_of(model) as context:
        runner = ModelRunner(
            model, context, batch_size=256, exact_params=params_of(), governor=governor
        )
        for id, is_deterministic in enumerate((True, False, True)):
            runner.forward((item(sequence(model, PROMPT, id, deterministic=is_deterministic)),))
        runner.end_exact()
    assert counts == [1]
    model.free()


def test_a_deterministic_sequence_begins_in_empty_memory(model: LlamaModel, runner: Runner) -> None:
    exact = sequence(model, PROMPT, 2, deterministic=True)
    (first,) = (row.copy() for row in runner.forward((item(exact),)))
    runner.forward((item(sequence(model, "air", 1)),))
    (again,) = runner.forward((item(exact),))
    assert np.array_equal(first, again)
    runner.end_exact()
    (anew,) = runner.forward((item(exact),))
    assert np.array_equal(first, anew)
    runner.end_exact()


def test_a_deterministic_sequence_that_has_no_room_is_refused_before(llama_path: Path) -> None:
    model = LlamaModel(llama_path)
    with context_of(model) as context:
        runner = ModelRunner(
            model, context, batch_size=256, exact_params=params_of(), exact_bytes=2**60
        )
        with pytest.raises(NotEnoughMemory, match=r"1048576 TiB.*smaller --ctx-size"):
            runner.forward((item(sequence(model, PROMPT, 0, deterministic=True)),))
    model.free()


def test_no_memory_for_a_deterministic_sequence_is_an_error_of_its_own(llama_path: Path) -> None:
    model = LlamaModel(llama_path)
    with context_of(model) as context:
        huge = params_of(num_cells=2**31 - 256)
        runner = ModelRunner(model, context, batch_size=256, exact_params=huge)
        with pytest.raises(NotEnoughMemory):
            runner.forward((item(sequence(model, PROMPT, 0, deterministic=True)),))
        (row,) = runner.forward((item(sequence(model, PROMPT, 0)),))
        assert np.isfinite(row).all()
    model.free()
