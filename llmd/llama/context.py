"""A model's working memory: decode, and the memory of each sequence."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from enum import Enum

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from llmd.errors import NotEnoughMemory
from llmd.llama import library
from llmd.llama.batch import LlamaBatch
from llmd.llama.model import CACHE_TYPES, LlamaModel

Row = NDArray[np.float32]
"""Logits of one position, one per token of the vocabulary. Valid until the next decode."""

_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}


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
    max_rows: int
    """Most rows of logits of one decode; llama.cpp's buffers are sized by it."""
    batch_size: int
    ubatch_size: int
    num_threads: int
    num_threads_batch: int
    flash_attention: str = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"


class LlamaContext:
    """One unified KV cache and the compute buffers around it. Engine thread only."""

    def __init__(self, model: LlamaModel, params: ContextParams) -> None:
        """Raises NotEnoughMemory where llama.cpp cannot make the context."""
        native = llama_cpp.llama_context_default_params()
        native.n_ctx = params.num_cells
        native.n_seq_max = params.num_sequences
        native.n_batch = params.batch_size
        native.n_ubatch = params.ubatch_size
        native.n_outputs_max = params.max_rows
        native.n_threads = params.num_threads
        native.n_threads_batch = params.num_threads_batch
        native.flash_attn_type = _FLASH_ATTENTION[params.flash_attention]
        native.type_k = CACHE_TYPES[params.cache_type_k]
        native.type_v = CACHE_TYPES[params.cache_type_v]
        native.no_perf = True
        # A partial seq_cp between streams ends the process, and one user's unused share would be
        # lost to the others: one pool for all.
        native.kv_unified = True
        with library.captured_errors() as errors:
            self._context = llama_cpp.llama_init_from_model(model.handle, native)
        if not self._context:
            reason = errors[-1] if errors else "llama.cpp gives no reason"
            raise NotEnoughMemory(
                f"cannot make a context of {params.num_cells} tokens: {reason}. "
                f"Try a smaller --ctx-size, --kv-tokens or --parallel, or --flash-attn auto."
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._num_vocab = model.tokenizer.num_tokens
        self._rows: NDArray[np.float32] = np.empty((0, self._num_vocab), dtype=np.float32)
        self._rows_address = 0
        self.num_cells = int(llama_cpp.llama_n_ctx(self._context))

    def decode(self, batch: LlamaBatch, num_rows: int) -> DecodeStatus:
        """Compute a batch (llama.h llama_decode); the GIL is free meanwhile. On OK, `row(i)` is
        the i-th of its `num_rows` rows of logits, in batch order.
        """
        code = int(llama_cpp.llama_decode(self._context, batch.native))
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
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, sequence_id, num_tokens, -1))

    def clear(self) -> None:
        """Forget every sequence."""
        llama_cpp.llama_memory_clear(self._memory, True)

    def save(self, sequence_id: int) -> bytes:
        """The state of one sequence, for `restore` in any unified context of the same model."""
        size = llama_cpp.llama_state_seq_get_size(self._context, sequence_id)
        buffer = (ctypes.c_uint8 * size)()
        written = llama_cpp.llama_state_seq_get_data(self._context, buffer, size, sequence_id)
        return bytes(memoryview(buffer)[:written])

    def restore(self, sequence_id: int, state: bytes) -> bool:
        """Put a saved state into an empty sequence. False where it does not fit this context."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        return (
            int(llama_cpp.llama_state_seq_set_data(self._context, buffer, len(state), sequence_id))
            != 0
        )

    def _view_rows(self, address: int, num_rows: int) -> None:
        """Let `_rows` show llama.cpp's buffer; it seldom moves."""
        if (address, num_rows) == (self._rows_address, len(self._rows)):
            return
        size = num_rows * self._num_vocab
        data = memoryview((ctypes.c_float * size).from_address(address)).cast("B")
        self._rows = np.frombuffer(data, np.float32).reshape(num_rows, self._num_vocab)
        self._rows_address = address

    def free(self) -> None:
        """Give the memory back. Idempotent."""
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None
