"""What a LlamaContext does with each kind of llama.cpp's memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contexts import assert_close, context_of, row, rows
from zoo.qwen35 import write_qwen35

from llmd.llama.context import LlamaContext, MemoryTraits, Row, State
from llmd.llama.model import LlamaModel
from llmd.llama.native_memory import NativeMemory

pytestmark = pytest.mark.gguf

QUANTIZED = {"flash_attention": "on", "cache_type_k": "q8_0", "cache_type_v": "q8_0"}
NOTHING: State = np.empty(0, np.uint8)

MEMORIES: dict[str, tuple[str, dict[str, Any]]] = {
    "attention": ("llama", {}),
    "quantized": ("llama", QUANTIZED),
    "window": ("gemma3", {"swa_full": True}),
    "quantized window": ("gemma3", {"swa_full": True, **QUANTIZED}),
    "window only": ("gemma3", {"swa_full": False}),
    "recurrent": ("mamba", {}),
    "hybrid": ("lfm2", {}),
    "hybrid, M-RoPE": ("qwen35", {}),
}
CUTTING = ["attention", "quantized", "window", "quantized window"]
OTHERS = ["window only", "recurrent", "hybrid", "hybrid, M-RoPE"]


@dataclass(frozen=True, slots=True)
class Memory:
    """A kind of memory, two long texts, and a short one to go on with."""

    model: LlamaModel
    fields: dict[str, Any]
    first: list[int]
    second: list[int]
    more: list[int]

    @contextmanager
    def context(self, **fields: Any) -> Iterator[LlamaContext]:
        with context_of(self.model, **{"num_sequences": 6, **self.fields, **fields}) as context:
            yield context

    def fresh(self, tokens: list[int]) -> Row:
        """The last row of a context that computes nothing else."""
        with self.context() as context:
            return row(context, 0, 0, tokens)

    def read_both(self, context: LlamaContext, num_tokens: int) -> None:
        """Compute both texts side by side as sequences 0 and 1, so that their cells alternate."""
        for start in range(0, num_tokens, 3):
            end = min(start + 3, num_tokens)
            rows(context, (0, start, self.first[start:end]), (1, start, self.second[start:end]))


@pytest.fixture(scope="module")
def models(
    zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, LlamaModel]]:
    paths = {name: zoo[name] for name in ("llama", "gemma3", "mamba", "lfm2")}
    paths["qwen35"] = write_qwen35(tmp_path_factory.mktemp("zoo") / "qwen35.gguf")
    models = {name: LlamaModel(path) for name, path in paths.items()}
    yield models
    for model in models.values():
        model.free()


@pytest.fixture(params=MEMORIES)
def memory(models: dict[str, LlamaModel], request: pytest.FixtureRequest) -> Memory:
    name, fields = MEMORIES[request.param]
    model = models[name]
    # The words; bytes and control tokens come before and after them.
    texts = np.random.default_rng(1).integers(400, model.tokenizer.num_tokens - 40, (2, 160))
    first, second = texts.tolist()
    return Memory(model, fields, first, second, second[150:])


@pytest.mark.parametrize("memory", CUTTING, indirect=True)
@pytest.mark.parametrize("num_tokens", [1, 40, 99])
def test_a_prefix_of_any_length_is_shared(memory: Memory, num_tokens: int) -> None:
    with memory.context() as context:
        memory.read_both(context, 100)
        context.share(0, 2, 0, num_tokens)
        shared = row(context, 2, num_tokens, memory.more)
        assert_close(shared, memory.fresh(memory.first[:num_tokens] + memory.more))
        goes_on = row(context, 0, 100, memory.more)
        assert_close(goes_on, memory.fresh(memory.first[:100] + memory.more))


@pytest.mark.parametrize("memory", ["window", "quantized window"], indirect=True)
def test_what_has_left_a_window_is_kept_while_others_come_and_go(memory: Memory) -> None:
    with memory.context() as context:
        row(context, 0, 0, memory.second[:100])
        row(context, 1, 0, memory.first)
        context.truncate(0, 0)
        row(context, 2, 0, memory.second)  # fills the gap, and goes on behind sequence 1
        context.share(1, 3, 0, 60)
        shared = row(context, 3, 60, memory.more)
        assert_close(shared, memory.fresh(memory.first[:60] + memory.more))


@pytest.mark.parametrize("memory", OTHERS, indirect=True)
def test_a_checkpoint_starts_another_sequence_when_its_own_has_gone_on(memory: Memory) -> None:
    with memory.context() as context:
        memory.read_both(context, 100)
        checkpoint = context.save_checkpoint(0)
        row(context, 0, 100, memory.first[100:])
        context.share(0, 2, 0, 100)
        assert context.restore_checkpoint(2, checkpoint)
        taken_up = row(context, 2, 100, memory.more)
        assert_close(taken_up, memory.fresh(memory.first[:100] + memory.more))
        goes_on = row(context, 0, 160, memory.more)
        assert_close(goes_on, memory.fresh(memory.first + memory.more))


def test_the_traits_are_known_before_there_is_a_context(memory: Memory) -> None:
    traits = MemoryTraits.of(memory.model, swa_full=memory.fields.get("swa_full", True))
    with memory.context() as context:
        assert context.memory == traits
        row(context, 0, 0, memory.first[:50])
        assert (context.save_span(0).size > 0) == traits.has_cells
        assert (context.save_checkpoint(0).size == 0) == traits.cuts


def save_spans(context: LlamaContext, *ends: int) -> list[State]:
    """Sequence 0 up to each of the ends, by way of sequence 5."""
    spans = []
    for start, end in zip((0, *ends), ends, strict=False):
        context.share(0, 5, start, end)
        spans.append(context.save_span(5))
        context.truncate(5, 0)
    return spans


def restore_spans(
    context: LlamaContext, sequence_id: int, ends: list[int], spans: list[State], checkpoint: State
) -> None:
    """Put them together in a sequence, the checkpoint with the last."""
    for start, end, span in zip((0, *ends), ends, spans, strict=False):
        assert context.restore_span(5, span, checkpoint if end == ends[-1] else NOTHING)
        context.share(5, sequence_id, start, end)
        context.truncate(5, 0)


def test_spans_put_together_are_the_sequence(memory: Memory) -> None:
    ends = [30, 37, 100]
    with memory.context() as context:
        memory.read_both(context, 100)
        checkpoint, spans = context.save_checkpoint(0), save_spans(context, *ends)
        row(context, 0, 100, memory.first[100:])
        restore_spans(context, 2, ends, spans, checkpoint)
        expected = memory.fresh(memory.first[:100] + memory.more)
        assert_close(row(context, 2, 100, memory.more), expected)
        goes_on = row(context, 1, 100, memory.more)
        assert_close(goes_on, memory.fresh(memory.second[:100] + memory.more))
    with memory.context(num_cells=1024, num_sequences=9, batch_size=512) as other:
        restore_spans(other, 7, ends, spans, checkpoint)
        assert_close(row(other, 7, 100, memory.more), expected)


@pytest.mark.parametrize("memory", CUTTING, indirect=True)
def test_what_was_restored_can_be_cut_anywhere(memory: Memory) -> None:
    with memory.context() as context:
        memory.read_both(context, 100)
        spans = save_spans(context, 100)
        context.truncate(0, 0)
        restore_spans(context, 2, [100], spans, NOTHING)
        for num_tokens in (61, 20):
            assert context.truncate(2, num_tokens)
            cut = row(context, 2, num_tokens, memory.more)
            assert_close(cut, memory.fresh(memory.first[:num_tokens] + memory.more))


def test_a_span_has_no_more_bytes_than_its_cells(memory: Memory) -> None:
    with memory.context() as context:
        assert context.save_span(0).size == 0
        memory.read_both(context, 64)
        (span,) = save_spans(context, 64)
        halves = save_spans(context, 32, 64)
        assert span.base is None
        assert sum(half.size for half in halves) - span.size in range(600)
        assert (span.size > 0) == context.memory.has_cells
        assert (context.save_checkpoint(0).size > 0) == (not context.memory.cuts)


def damaged(state: State) -> list[State]:
    """Such as a wrong file or a short read makes them."""
    wrong = state.copy()
    wrong[:4] = 0
    return [state[:5], state[:40], state[: state.size // 2], state[:-1], wrong,
            np.concatenate([state, state[:9]])]  # fmt: skip


def test_what_is_damaged_is_refused_and_leaves_the_sequence_empty(memory: Memory) -> None:
    with memory.context() as context:
        memory.read_both(context, 100)
        span, checkpoint = context.save_span(0), context.save_checkpoint(0)
        tries = [(bad, checkpoint) for bad in damaged(span) if span.size]
        tries += [(span, bad) for bad in damaged(checkpoint) if checkpoint.size]
        for bad_span, bad_checkpoint in tries:
            context.share(1, 2, 0, 50)
            assert not context.restore_span(2, bad_span, bad_checkpoint)
            assert context.save_span(2).size == 0
        assert_close(row(context, 2, 0, memory.more), memory.fresh(memory.more))
        goes_on = row(context, 1, 100, memory.more)
        assert_close(goes_on, memory.fresh(memory.second[:100] + memory.more))


@pytest.mark.parametrize("memory", ["attention"], indirect=True)
def test_a_state_of_other_types_is_refused(memory: Memory) -> None:
    with memory.context() as context:
        row(context, 0, 0, memory.first)
        span = context.save_span(0)
    with memory.context(cache_type_k="f16") as other:
        assert not other.restore_span(0, span, NOTHING)


@pytest.mark.parametrize("memory", CUTTING, indirect=True)
def test_a_span_is_refused_where_cells_are_wanting(memory: Memory) -> None:
    with memory.context(num_cells=256) as context:
        memory.read_both(context, 100)
        span = context.save_span(0)
        assert not context.restore_span(2, span, NOTHING)
        goes_on = row(context, 1, 100, memory.more)
        assert_close(goes_on, memory.fresh(memory.second[:100] + memory.more))
        assert context.truncate(0, 0)
        assert context.restore_span(2, span, NOTHING)


def test_memory_that_cannot_share_a_part_is_saved_and_shared_whole(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as deepseek4's, where asking for less than all ends the process."""
    remove = NativeMemory.remove

    def refuse(self: NativeMemory, sequence_id: int, start: int, end: int = -1) -> bool:
        return end < 0 and remove(self, sequence_id, start)

    monkeypatch.setattr(NativeMemory, "remove", refuse)
    with memory.context() as context:
        assert context.memory == MemoryTraits(cuts=False, has_cells=True, has_window=False)
        memory.read_both(context, 100)
        checkpoint, spans = context.save_checkpoint(0), save_spans(context, 30, 100)
        assert not any(span.size for span in spans)
        restore_spans(context, 2, [30, 100], spans, checkpoint)
        expected = memory.fresh(memory.first[:100] + memory.more)
        assert_close(row(context, 2, 100, memory.more), expected)
