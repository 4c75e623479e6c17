"""A model's working memory where it embeds: one vector for each sequence, and no text."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from llmd.core.embedding import POOLING_BY_NUMBER, Pooling
from llmd.llama import library
from llmd.llama.batch import LlamaBatch
from llmd.llama.context import FLASH_ATTENTION, DecodeStatus
from llmd.llama.model import CACHE_TYPES, LlamaModel

Values = NDArray[np.float32]
"""What pooling made of one sequence: an embedding, or the outputs of a classification head."""

_POOLING_NUMBERS = {pooling: number for number, pooling in POOLING_BY_NUMBER.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingParams:
    """`batch_size` is the most tokens of one decode, which computes them all at once: attention
    that looks ahead needs a whole text together.
    """

    pooling: Pooling
    num_cells: int
    """Of the attention cache, in tokens; models without one take none."""
    num_sequences: int
    batch_size: int
    num_threads: int
    num_threads_batch: int
    flash_attention: str = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"


class PoolingContext:
    """The compute buffers of an embedding model, and its attention cache where it has one. Engine
    thread only.
    """

    def __init__(self, model: LlamaModel, params: PoolingParams) -> None:
        """Raises NotEnoughMemory where llama.cpp cannot allocate the context, or ContextRefused
        where it makes none like this.
        """
        native = llama_cpp.llama_context_default_params()
        native.n_ctx = params.num_cells
        native.n_seq_max = params.num_sequences
        native.n_batch = params.batch_size
        native.n_ubatch = params.batch_size
        native.n_threads = params.num_threads
        native.n_threads_batch = params.num_threads_batch
        native.flash_attn_type = FLASH_ATTENTION[params.flash_attention]
        native.type_k = CACHE_TYPES[params.cache_type_k]
        native.type_v = CACHE_TYPES[params.cache_type_v]
        native.embeddings = True
        native.pooling_type = _POOLING_NUMBERS[params.pooling]
        native.swa_full = True
        native.no_perf = True
        native.kv_unified = True
        with library.captured_errors() as errors:
            self._context = llama_cpp.llama_init_from_model(model.handle, native)
        if not self._context:
            raise library.no_context(
                errors,
                f"a context of {params.batch_size} tokens",
                "a smaller --ctx-size or --batch-size",
            )
        memory = llama_cpp.llama_get_memory(self._context)
        self._memory = memory if memory else None
        # What has an encoder only is computed by the other call (llama.h llama_encode).
        self._compute = llama_cpp.llama_encode if model.is_encoder_only else llama_cpp.llama_decode
        self._num_values = (
            model.num_labels if params.pooling is Pooling.RANK else model.output_length
        )

    @property
    def looks_ahead(self) -> bool:
        """Whether tokens see those behind them. If not, a text may be computed part by part, each
        behind what is known of its sequence."""
        return self._memory is None or not llama_cpp.llama_get_causal_attn(self._context)

    def decode(self, batch: LlamaBatch) -> DecodeStatus:
        """Compute a batch all tokens of which are marked for output; the GIL is free meanwhile. On
        OK `values` has what became of each of its sequences.
        """
        code = int(self._compute(self._context, batch.native))
        if code == 1:
            return DecodeStatus.NO_ROOM
        return DecodeStatus.OK if code == 0 else DecodeStatus.FAILED

    def values(self, sequence_id: int) -> Values:
        """A copy of what the last decode made of its tokens of a sequence."""
        pointer = llama_cpp.llama_get_embeddings_seq(self._context, sequence_id)
        address = ctypes.addressof(pointer.contents)
        view = (ctypes.c_float * self._num_values).from_address(address)
        return np.array(np.frombuffer(memoryview(view).cast("B"), np.float32))

    def forget(self, sequence_id: int) -> None:
        """Give a sequence's cells back."""
        if self._memory is not None:
            llama_cpp.llama_memory_seq_rm(self._memory, sequence_id, 0, -1)

    def set_threads(self, num_threads: int, num_threads_batch: int) -> None:
        llama_cpp.llama_set_n_threads(self._context, num_threads, num_threads_batch)

    def free(self) -> None:
        """Idempotent."""
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = None
