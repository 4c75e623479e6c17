"""The native batch: one, reused for every decode."""

from __future__ import annotations

import ctypes

import llama_cpp
import numpy as np


class LlamaBatch:
    """Up to `capacity` tokens of any sequences, each token of one sequence. Engine thread only.

    The native struct points into numpy arrays owned here, so filling it is slice assignment.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.num_tokens = 0
        self._tokens = np.zeros(capacity, dtype=np.int32)
        self._positions = np.zeros(capacity, dtype=np.int32)
        self._num_sequence_ids = np.ones(capacity, dtype=np.int32)
        self._sequence_ids = np.zeros(capacity, dtype=np.int32)
        self._wants_logits = np.zeros(capacity, dtype=np.int8)
        # seq_id is an array of pointers: the i-th points at the i-th of our sequence ids.
        base, step = self._sequence_ids.ctypes.data, self._sequence_ids.itemsize
        self._pointers = np.arange(base, base + capacity * step, step, dtype=np.uintp)
        self.native = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._num_sequence_ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=self._wants_logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        self.num_tokens = 0
        self.native.n_tokens = 0

    def add(self, sequence_id: int, start: int, tokens: list[int], num_logits: int) -> None:
        """Append `tokens` of a sequence at positions `start` on; the last `num_logits` of them
        produce a row of logits each.
        """
        begin, end = self.num_tokens, self.num_tokens + len(tokens)
        assert end <= self.capacity
        self._tokens[begin:end] = tokens
        self._positions[begin:end] = range(start, start + len(tokens))
        self._sequence_ids[begin:end] = sequence_id
        self._wants_logits[begin:end] = 0
        self._wants_logits[end - num_logits : end] = 1
        self.num_tokens = end
        self.native.n_tokens = end
