"""llama.cpp's memory of sequences, as it is."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

WHOLE = 0
"""State flag: all of a sequence."""
PARTIAL = llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
"""State flag: recurrent state and cells of windows only, where there are such."""

HEADER_BYTES = 8
"""Of a state: a magic number and the id that was saved. Then comes what the cells hold, then what
the flag PARTIAL alone gives."""


class NativeMemory:
    """The calls of llama.h on the memory of one context. Engine thread only."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._memory = llama_cpp.llama_get_memory(context)

    def copy(self, source_id: int, target_id: int, start: int = -1, end: int = -1) -> None:
        """Let the target have the source's cells of positions `start` to `end`, all by default."""
        llama_cpp.llama_memory_seq_cp(self._memory, source_id, target_id, start, end)

    def remove(self, sequence_id: int, start: int, end: int = -1) -> bool:
        """Forget positions `start` to `end`, to the last by default; False where that cannot be."""
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, sequence_id, start, end))

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)

    def positions(self, sequence_id: int) -> range:
        """From the first to the last that is known."""
        first = llama_cpp.llama_memory_seq_pos_min(self._memory, sequence_id)
        last = llama_cpp.llama_memory_seq_pos_max(self._memory, sequence_id)
        return range(first, last + 1)

    def size(self, sequence_id: int, flags: int) -> int:
        """Bytes of a state."""
        return int(llama_cpp.llama_state_seq_get_size_ext(self._context, sequence_id, flags))

    def save(self, sequence_id: int, flags: int) -> NDArray[np.uint8]:
        """A sequence's state. The buffer is written once only: states have hundreds of MB."""
        state = np.empty(self.size(sequence_id, flags), np.uint8)
        self.save_into(sequence_id, flags, state)
        return state

    def save_into(self, sequence_id: int, flags: int, buffer: NDArray[np.uint8]) -> int:
        """Write a state to the beginning of a buffer that is large enough; returns its size."""
        pointer, size = _pointer(buffer), buffer.size
        return int(
            llama_cpp.llama_state_seq_get_data_ext(self._context, pointer, size, sequence_id, flags)
        )

    def restore(self, sequence_id: int, flags: int, buffer: NDArray[np.uint8]) -> int:
        """Set a sequence to the state at the beginning of a buffer; returns its size. 0 where it
        does not fit: then the sequence may have some of it.
        """
        pointer, size = _pointer(buffer), buffer.size
        return int(
            llama_cpp.llama_state_seq_set_data_ext(self._context, pointer, size, sequence_id, flags)
        )


def _pointer(buffer: NDArray[np.uint8]) -> Any:
    return buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
