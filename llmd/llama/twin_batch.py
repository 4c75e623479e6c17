"""A batch each of whose tokens belongs to two sequences."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np

from llmd.llama.batch import LlamaBatch


class TwinBatch:
    """Makes every token of a batch one of its sequence's twin as well, the sequence `distance` ids
    further on. Both are computed as one. Engine thread only.

    llama.cpp takes a cell that has left its sequence's window for other tokens, even where it has
    free ones, but only if no second sequence has it (llama-kv-cache.cpp, find_slot).
    """

    def __init__(self, capacity: int, distance: int) -> None:
        self._distance = distance
        self._ids = np.zeros((capacity, 2), dtype=np.int32)
        self._num_ids = np.full(capacity, 2, dtype=np.int32)
        base, step = self._ids.ctypes.data, self._ids.strides[0]
        self._pointers = np.arange(base, base + capacity * step, step, dtype=np.uintp)

    def of(self, batch: LlamaBatch) -> Any:
        """A native batch that has the rest in common with `batch`; valid until the next call."""
        native: Any = batch.native
        num_tokens = batch.num_tokens
        address = ctypes.addressof(native.seq_id[0].contents)
        data = memoryview((ctypes.c_int32 * num_tokens).from_address(address)).cast("B")
        ids = np.frombuffer(data, np.int32)
        self._ids[:num_tokens, 0] = ids
        self._ids[:num_tokens, 1] = ids + self._distance
        return llama_cpp.llama_batch(
            n_tokens=num_tokens,
            token=native.token,
            embd=None,
            pos=native.pos,
            n_seq_id=self._num_ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=native.logits,
        )
