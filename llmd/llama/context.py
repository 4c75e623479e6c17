"""A model's working memory: decode, and the memory of each sequence."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from llmd.llama import library
from llmd.llama.batch import LlamaBatch
from llmd.llama.model import CACHE_TYPES, LlamaModel
from llmd.llama.native_memory import HEADER_BYTES, PARTIAL, WHOLE, NativeMemory
from llmd.llama.twin_batch import TwinBatch

Row = NDArray[np.float32]
"""Logits of one position, one per token of the vocabulary. Valid until the next decode."""

State = NDArray[np.uint8]
"""Memory of a sequence as llama.cpp writes it: numbers of cells, positions, types, then data. It
fits every LlamaContext of the same model, cache types and flash attention."""

FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}

_PIECE_LENGTH = 64
"""Tokens that are saved at once without flash attention, where values are stored by column:
llama.cpp notes a copy for every value of every run of cells, 2 GB for 1,000 scattered tokens."""


class DecodeStatus(Enum):
    OK = 0
    NO_ROOM = 1
    """No cells were found; nothing was computed and nothing changed."""
    FAILED = 2
    """Some of the batch may be in the sequences' memory already: truncate before a new try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextParams:
    """`num_cells` is the pool that all sequences share, in tokens; llama.cpp rounds it up to a
    multiple of 256.
    """

    num_cells: int
    num_sequences: int
    """Sequence ids, from 0 on. Each costs a row of logits, two where a window is kept whole, and
    models with recurrent state a whole state."""
    max_rows: int
    """Most rows of logits of one decode; llama.cpp's buffers are sized by it."""
    batch_size: int
    ubatch_size: int
    num_threads: int
    num_threads_batch: int
    flash_attention: str = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    swa_full: bool = True
    """Keep the cells that have left a sliding window, so that a sequence can be cut anywhere. They
    take as much memory as those of other layers. Hybrid models cannot be cut and keep none."""


class MemoryKind(Protocol):
    """What decides on the traits: a loaded model knows it, and its file tells it before."""

    @property
    def is_recurrent(self) -> bool: ...
    @property
    def has_recurrent_state(self) -> bool: ...
    @property
    def window_length(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTraits:
    """What can be done with the memory of this kind of model."""

    cuts: bool
    """A prefix of any length can be shared, and a suffix of any length dropped. Otherwise memory
    can only be taken up where a checkpoint was made."""
    has_cells: bool
    """A sequence takes a cell of the pool for each token; a recurrent one takes none."""
    has_window: bool
    """Some layers see only the newest tokens."""

    @classmethod
    def of(cls, kind: MemoryKind, *, swa_full: bool) -> MemoryTraits:
        """The traits that a context of the model will have, unless it is irregular."""
        has_window = kind.window_length > 0
        return cls(
            cuts=not kind.has_recurrent_state and (swa_full or not has_window),
            has_cells=not kind.is_recurrent,
            has_window=has_window,
        )

    @property
    def has_twins(self) -> bool:
        """Each sequence has a second id, which keeps the cells that its window has left."""
        return self.cuts and self.has_window


class LlamaContext:
    """One unified KV cache and the compute buffers around it. Engine thread only.

    States go back in as they came out. llama.cpp compares sizes and types with its own, but not
    positions, so whoever stores a state must see to it that it is not damaged.
    """

    def __init__(self, model: LlamaModel, params: ContextParams) -> None:
        """Raises NotEnoughMemory where llama.cpp cannot allocate the context, or ContextRefused
        where it makes none like this.
        """
        self.memory = MemoryTraits.of(model, swa_full=params.swa_full)
        self._num_ids = params.num_sequences
        has_twins = self.memory.has_twins
        self._piece_length = _choose_piece_length(model, params)
        native = llama_cpp.llama_context_default_params()
        native.n_ctx = params.num_cells
        native.n_seq_max = count_native_ids(model, params)
        self._piece_id = native.n_seq_max - 1  # where it has pieces
        native.n_batch = params.batch_size
        native.n_ubatch = params.ubatch_size
        # llama.cpp ends the process where this is below the number of sequences.
        native.n_outputs_max = max(params.max_rows, native.n_seq_max)
        native.n_threads = params.num_threads
        native.n_threads_batch = params.num_threads_batch
        native.flash_attn_type = FLASH_ATTENTION[params.flash_attention]
        native.type_k = CACHE_TYPES[params.cache_type_k]
        native.type_v = CACHE_TYPES[params.cache_type_v]
        native.swa_full = has_twins
        native.no_perf = True
        # A partial seq_cp between streams ends the process, and one user's unused share would be
        # lost to the others: one pool for all.
        native.kv_unified = True
        with library.captured_errors() as errors:
            self._context = llama_cpp.llama_init_from_model(model.handle, native)
        if not self._context:
            raise library.no_context(
                errors,
                f"a context of {params.num_cells} tokens",
                "a smaller --ctx-size, --kv-tokens or --parallel",
            )
        self._memory = NativeMemory(self._context)
        self._twins = TwinBatch(params.batch_size, self._num_ids) if has_twins else None
        self._num_vocab = model.tokenizer.num_tokens
        self._rows: NDArray[np.float32] = np.empty((0, self._num_vocab), dtype=np.float32)
        self._rows_address = 0
        self.num_cells = int(llama_cpp.llama_n_ctx(self._context))
        self._inspect_states()

    def decode(self, batch: LlamaBatch, num_rows: int) -> DecodeStatus:
        """Compute a batch (llama.h llama_decode); the GIL is free meanwhile. On OK, `row(i)` is
        the i-th of its `num_rows` rows of logits, in batch order.
        """
        native = self._twins.of(batch) if self._twins else batch.native
        code = int(llama_cpp.llama_decode(self._context, native))
        if code == 1:
            return DecodeStatus.NO_ROOM
        if code != 0:
            return DecodeStatus.FAILED
        if num_rows:
            # Waits for a GPU, and puts the rows in batch order.
            pointer = llama_cpp.llama_get_logits(self._context)
            self._view_rows(ctypes.addressof(pointer.contents), num_rows)
        return DecodeStatus.OK

    def set_threads(self, num_threads: int, num_threads_batch: int) -> None:
        """From the next decode on: threads for single tokens, and for larger batches."""
        llama_cpp.llama_set_n_threads(self._context, num_threads, num_threads_batch)

    def row(self, index: int) -> Row:
        """Row `index` of the last decode; writing to it changes nothing but this view's owner."""
        row: Row = self._rows[index]
        return row

    def truncate(self, sequence_id: int, num_tokens: int) -> bool:
        """Forget a sequence's tokens from position `num_tokens` on. False where this kind of
        memory cannot drop a suffix (recurrent): then only `truncate(id, 0)` works.
        """
        done = self._memory.remove(sequence_id, num_tokens)
        if self._twins:
            self._memory.remove(self._twin(sequence_id), num_tokens)
        return done

    def clear(self) -> None:
        """Forget every sequence."""
        self._memory.clear()

    def share(self, source_id: int, target_id: int, start: int, end: int) -> None:
        """Give the target the source's cells of positions `start` to `end`, beside what cells it
        has; nothing is copied (llama.h llama_memory_seq_cp).

        Where memory does not cut, the target's recurrent state becomes the source's newest one,
        and it has whatever of the window is there: a checkpoint restored afterwards puts it right.
        """
        if start >= end:
            return
        if self._is_irregular:
            start, end = -1, -1
        self._memory.copy(source_id, target_id, start, end)
        if self._twins:
            self._memory.copy(source_id, self._twin(target_id), start, end)

    def save_span(self, sequence_id: int) -> State:
        """All cells of a sequence, wherever its positions begin. Empty where it has none, or where
        checkpoints hold everything.
        """
        if not self.memory.has_cells or self._is_irregular:
            return _empty_state()
        if self._memory.size(sequence_id, WHOLE) <= self._empty_size:
            return _empty_state()
        if self._piece_length:
            return self._save_pieces(sequence_id)
        state: State = self._memory.save(sequence_id, WHOLE)
        if self._empty_partial.size:
            # An empty partial state takes the place of the sequence's own at the end.
            start = state.size - self._memory.size(sequence_id, PARTIAL) + HEADER_BYTES
            end = start + self._empty_partial.size
            state[start:end] = self._empty_partial
            state.resize(end, refcheck=False)  # gives the rest back without a copy
        return state

    def restore_span(self, sequence_id: int, span: State, checkpoint: State) -> bool:
        """Let a sequence have a saved span, and the checkpoint at its end unless that is empty, in
        place of what it had. False, and the sequence is empty, where they do not fit or there are
        not enough cells.
        """
        self.truncate(sequence_id, 0)
        if not self._restore_span(sequence_id, span):
            self.truncate(sequence_id, 0)
            return False
        return self.restore_checkpoint(sequence_id, checkpoint)

    def save_checkpoint(self, sequence_id: int) -> State:
        """What a sequence's cells do not tell at its newest token: recurrent state, window. Empty
        where memory cuts, which needs none.
        """
        if self.memory.cuts:
            return _empty_state()
        return self._memory.save(sequence_id, self._checkpoint_flags)

    def restore_checkpoint(self, sequence_id: int, checkpoint: State) -> bool:
        """Set a sequence that has the cells of the same prefix, and no more, to a checkpoint. An
        empty one changes nothing. False, and the sequence is empty, where it does not fit.
        """
        if not checkpoint.size:
            return True
        if not self.memory.cuts:
            size = self._memory.restore(sequence_id, self._checkpoint_flags, checkpoint)
            if size == checkpoint.size:
                return True
        self.truncate(sequence_id, 0)
        return False

    def free(self) -> None:
        """Give the memory back. Idempotent."""
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None

    def _inspect_states(self) -> None:
        """Learn from an empty sequence how this memory's states are built.

        A state is the cells, then the partial state; where there is no partial state, the flag
        makes no difference. Irregular are the memories that are built otherwise or cannot share a
        part of a sequence: asking them to would end the process.
        """
        memory = self._memory
        self._is_irregular = not memory.remove(0, 1, 2)
        self._empty_size = 0
        self._empty_partial = _empty_state()
        if not self._is_irregular:
            whole, partial = memory.save(0, WHOLE), memory.save(0, PARTIAL)
            self._empty_size = whole.size
            end = whole[whole.size - partial.size + HEADER_BYTES :]
            has_parts = self.memory.has_cells and (self.memory.has_window or not self.memory.cuts)
            self._is_irregular = has_parts != (partial.size < whole.size) or not np.array_equal(
                end, partial[HEADER_BYTES:]
            )
            if has_parts and not self.memory.cuts:
                self._empty_partial = partial[HEADER_BYTES:]
        if self._is_irregular:
            self.memory = MemoryTraits(cuts=False, has_cells=True, has_window=False)
            self._twins = None
        self._checkpoint_flags = WHOLE if self._is_irregular else PARTIAL

    def _save_pieces(self, sequence_id: int) -> State:
        """llama.cpp leaves out what the window of a state's newest token does not reach: in pieces
        of a window's length, everything is saved.
        """
        memory, positions = self._memory, self._memory.positions(sequence_id)
        # Windows that are chunks of the text begin at multiples of their length.
        first = positions.start - positions.start % self._piece_length
        starts = range(first, positions.stop, self._piece_length)
        size = 0
        for start in starts:
            with self._piece(sequence_id, start) as piece_id:
                size += memory.size(piece_id, WHOLE)
        state: State = np.empty(size, np.uint8)
        size = 0
        for start in starts:
            with self._piece(sequence_id, start) as piece_id:
                size += memory.save_into(piece_id, WHOLE, state[size:])
        return state

    @contextmanager
    def _piece(self, sequence_id: int, start: int) -> Iterator[int]:
        """An id that holds one piece of a sequence."""
        self._memory.copy(sequence_id, self._piece_id, start, start + self._piece_length)
        try:
            yield self._piece_id
        finally:
            self._memory.remove(self._piece_id, 0)

    def _restore_span(self, sequence_id: int, span: State) -> bool:
        if not span.size:
            return True
        if not self.memory.has_cells or self._is_irregular:
            return False
        memory = self._memory
        if not self._piece_length:
            return memory.restore(sequence_id, WHOLE, span) == span.size
        size = -1
        while span.size and size:
            size = memory.restore(self._piece_id, WHOLE, span)
            if size:
                memory.copy(self._piece_id, sequence_id)
                if self._twins:
                    memory.copy(self._piece_id, self._twin(sequence_id))
            # A restore that fails halfway may leave cells behind.
            memory.remove(self._piece_id, 0)
            span = span[size:]
        return not span.size

    def _twin(self, sequence_id: int) -> int:
        """The id that has the same cells, so that those outside of the window are kept."""
        return sequence_id + self._num_ids

    def _view_rows(self, address: int, num_rows: int) -> None:
        """Let `_rows` show llama.cpp's buffer; it seldom moves."""
        if (address, num_rows) == (self._rows_address, len(self._rows)):
            return
        size = num_rows * self._num_vocab
        data = memoryview((ctypes.c_float * size).from_address(address)).cast("B")
        self._rows = np.frombuffer(data, np.float32).reshape(num_rows, self._num_vocab)
        self._rows_address = address


def count_native_ids(kind: MemoryKind, params: ContextParams) -> int:
    """Of llama.cpp's sequence ids, how many a context takes for `params.num_sequences` of ours."""
    has_twins = MemoryTraits.of(kind, swa_full=params.swa_full).has_twins
    return params.num_sequences * (2 if has_twins else 1) + bool(_choose_piece_length(kind, params))


def _choose_piece_length(kind: MemoryKind, params: ContextParams) -> int:
    """Most tokens of one piece of a span, 0 where it needs none."""
    if not MemoryTraits.of(kind, swa_full=params.swa_full).cuts:
        return 0
    if params.flash_attention == "off":
        return math.gcd(kind.window_length, _PIECE_LENGTH)
    return kind.window_length


def _empty_state() -> State:
    return np.empty(0, np.uint8)
