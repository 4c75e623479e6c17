"""A step's plan, computed."""

from __future__ import annotations

from typing import Protocol

from llmd.config.memory import available_memory
from llmd.config.size_text import size_text
from llmd.engine.batch import Batch, BatchItem
from llmd.engine.governor import ThreadGovernor
from llmd.errors import NotEnoughMemory
from llmd.llama.batch import LlamaBatch
from llmd.llama.context import (
    ContextParams,
    DecodeStatus,
    LlamaContext,
    MemoryTraits,
    Row,
    State,
)
from llmd.llama.model import LlamaModel


class NoRoom(Exception):
    """The memory has no place for this batch; nothing was computed."""


class DecodeFailed(Exception):
    """The batch was not, or only partly, computed: truncate its sequences before trying again."""


class Runner(Protocol):
    """What the engine asks of the model. Engine thread only."""

    def forward(self, batch: Batch) -> list[Row]:
        """Compute a batch; the rows of logits that its items asked for, in order, valid until the
        next call. Raises NoRoom, DecodeFailed, or NotEnoughMemory for a deterministic sequence.
        """
        ...

    def truncate(self, sequence_id: int, num_tokens: int) -> bool:
        """Keep a sequence's first `num_tokens`; False where only 0 is possible."""
        ...

    @property
    def memory(self) -> MemoryTraits: ...

    def share(self, source_id: int, target_id: int, start: int, end: int) -> None:
        """Give the target the source's cells of positions `start` to `end`; nothing is copied."""
        ...

    def save_span(self, sequence_id: int) -> State:
        """All cells of a sequence, wherever its positions begin; empty where it has none."""
        ...

    def restore_span(self, sequence_id: int, span: State, checkpoint: State) -> bool:
        """Put a saved span, and the checkpoint at its end unless that is empty, in place of what a
        sequence has. False, and the sequence is empty, where they do not fit.
        """
        ...

    def save_checkpoint(self, sequence_id: int) -> State:
        """What a sequence's cells do not tell at its newest token; empty where memory cuts."""
        ...

    def restore_checkpoint(self, sequence_id: int, checkpoint: State) -> bool:
        """Set a sequence that has the cells of the same prefix, and no more, to a checkpoint.
        False, and the sequence is empty, where it does not fit.
        """
        ...

    def end_exact(self) -> None:
        """The deterministic sequence that ran has ended."""
        ...

    def close(self) -> None: ...


class ModelRunner:
    """The Runner over llama.cpp; owns model and context. `batch_size` is the most tokens of a
    call. `governor` None leaves the number of threads as the context was made with.
    """

    def __init__(
        self,
        model: LlamaModel,
        context: LlamaContext,
        *,
        batch_size: int,
        exact_params: ContextParams,
        exact_bytes: int = 0,
        governor: ThreadGovernor | None = None,
    ) -> None:
        """`exact_params` are of the context in which deterministic sequences run, one at a time,
        and which takes `exact_bytes` of host memory meanwhile.
        """
        self._model = model
        self._context = context
        self._exact_params = exact_params
        self._exact_bytes = exact_bytes
        self._exact: LlamaContext | None = None
        self._governor = governor
        self._num_threads = 0
        self._batch = LlamaBatch(batch_size)

    def forward(self, batch: Batch) -> list[Row]:
        if batch and batch[0].sequence.request.deterministic:
            return self._forward_exact(batch[0])
        self._adjust_threads()
        self._batch.clear()
        for item in batch:
            assert item.sequence.sequence_id is not None
            self._add(item, item.sequence.sequence_id)
        return self._decode(self._context, sum(item.num_logits for item in batch))

    def _forward_exact(self, item: BatchItem) -> list[Row]:
        """Sums depend, in their last bits, on which cells others left free. So such a sequence has
        a memory of its own, and all threads. Raises NotEnoughMemory where there is none.
        """
        if self._exact is None:
            self._check_room_for_exact()
            self._exact = LlamaContext(self._model, self._exact_params)
        if item.start == 0:
            self._exact.clear()
        elif not self._exact.truncate(0, item.start):
            raise DecodeFailed
        self._batch.clear()
        self._add(item, 0)
        return self._decode(self._exact, item.num_logits)

    def _check_room_for_exact(self) -> None:
        free = available_memory()
        if self._exact_bytes > free.num_bytes:
            raise NotEnoughMemory(
                f"a deterministic request takes {size_text(self._exact_bytes)} of memory of its "
                f"own, and {size_text(free.num_bytes)} are free ({free.reason}). Send it without "
                f"deterministic, or start llmd with a smaller --ctx-size."
            )

    def _add(self, item: BatchItem, sequence_id: int) -> None:
        tokens = item.sequence.tokens[item.start : item.end]
        self._batch.add(sequence_id, item.start, tokens, item.num_logits)

    def _decode(self, context: LlamaContext, num_rows: int) -> list[Row]:
        match context.decode(self._batch, num_rows):
            case DecodeStatus.NO_ROOM:
                raise NoRoom
            case DecodeStatus.FAILED:
                raise DecodeFailed
            case DecodeStatus.OK:
                return [context.row(index) for index in range(num_rows)]

    def end_exact(self) -> None:
        if self._exact is not None:
            self._exact.free()
            self._exact = None

    def truncate(self, sequence_id: int, num_tokens: int) -> bool:
        return self._context.truncate(sequence_id, num_tokens)

    @property
    def memory(self) -> MemoryTraits:
        return self._context.memory

    def share(self, source_id: int, target_id: int, start: int, end: int) -> None:
        self._context.share(source_id, target_id, start, end)

    def save_span(self, sequence_id: int) -> State:
        return self._context.save_span(sequence_id)

    def restore_span(self, sequence_id: int, span: State, checkpoint: State) -> bool:
        return self._context.restore_span(sequence_id, span, checkpoint)

    def save_checkpoint(self, sequence_id: int) -> State:
        return self._context.save_checkpoint(sequence_id)

    def restore_checkpoint(self, sequence_id: int, checkpoint: State) -> bool:
        return self._context.restore_checkpoint(sequence_id, checkpoint)

    def _adjust_threads(self) -> None:
        if self._governor is None:
            return
        num_threads = self._governor.num_threads()
        if num_threads != self._num_threads:
            self._num_threads = num_threads
            self._context.set_threads(num_threads, num_threads)

    def close(self) -> None:
        self.end_exact()
        self._context.free()
        self._model.free()
