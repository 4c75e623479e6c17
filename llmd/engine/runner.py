"""A step's plan, computed."""

from __future__ import annotations

from typing import Protocol

from llmd.engine.batch import Batch
from llmd.engine.governor import ThreadGovernor
from llmd.llama.batch import LlamaBatch
from llmd.llama.context import DecodeStatus, LlamaContext, MemoryTraits, Row, State
from llmd.llama.model import LlamaModel


class NoRoom(Exception):
    """The memory has no place for this batch; nothing was computed."""


class DecodeFailed(Exception):
    """The batch was not, or only partly, computed: truncate its sequences before trying again."""


class Runner(Protocol):
    """What the engine asks of the model. Engine thread only."""

    def forward(self, batch: Batch) -> list[Row]:
        """Compute a batch; the rows of logits that its items asked for, in order, valid until the
        next call. Raises NoRoom or DecodeFailed.
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
        governor: ThreadGovernor | None = None,
    ) -> None:
        self._model = model
        self._context = context
        self._governor = governor
        self._num_threads = 0
        self._batch = LlamaBatch(batch_size)

    def forward(self, batch: Batch) -> list[Row]:
        self._adjust_threads(batch)
        native = self._batch
        native.clear()
        num_rows = 0
        for item in batch:
            assert item.sequence.sequence_id is not None
            tokens = item.sequence.tokens[item.start : item.end]
            native.add(item.sequence.sequence_id, item.start, tokens, item.num_logits)
            num_rows += item.num_logits
        match self._context.decode(native, num_rows):
            case DecodeStatus.NO_ROOM:
                raise NoRoom
            case DecodeStatus.FAILED:
                raise DecodeFailed
            case DecodeStatus.OK:
                return [self._context.row(index) for index in range(num_rows)]

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

    def _adjust_threads(self, batch: Batch) -> None:
        if self._governor is None:
            return
        # Attention over a long text is split between the threads, and summed up accordingly.
        is_deterministic = bool(batch) and batch[0].sequence.request.deterministic
        num_threads = (
            self._governor.max_threads if is_deterministic else self._governor.num_threads()
        )
        if num_threads != self._num_threads:
            self._num_threads = num_threads
            self._context.set_threads(num_threads, num_threads)

    def close(self) -> None:
        self._context.free()
        self._model.free()
