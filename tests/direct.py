"""What llama.cpp itself makes of a text, through the high-level class of its bindings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

POOLING = {"mean": 1, "cls": 2, "last": 3, "rank": 4}

Array = NDArray[np.float32]


class Direct:
    """One text at a time, in a context that knows no other."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def values(self, tokens: Sequence[int], count: int) -> Array:
        """The first `count` numbers that the model's pooling gives."""
        model, batch = self._model, self._model._batch
        batch.reset()
        batch.add_sequence(list(tokens), 0, True)
        model._ctx.kv_cache_clear()
        model._ctx.decode(batch)
        return np.array(llama_cpp.llama_get_embeddings_seq(model._ctx.ctx, 0)[:count], np.float32)

    def tokens(self, text: str) -> list[int]:
        return list(self._model.tokenize(text.encode(), add_bos=True, special=True))

    def embedding(self, text: str) -> Array:
        """Of length 1."""
        values = self.values(self.tokens(text), self._model.n_embd())
        return values / np.linalg.norm(values)


@contextmanager
def direct(
    path: Path, pooling: str, *, context_length: int = 512, flash_attention: bool = False
) -> Iterator[Direct]:
    with closing(
        llama_cpp.Llama(
            str(path),
            embedding=True,
            pooling_type=POOLING[pooling],
            n_ctx=context_length,
            n_batch=context_length,
            n_ubatch=context_length,
            n_threads=1,
            flash_attn=flash_attention,
            verbose=False,
        )
    ) as model:
        yield Direct(model)


def cosine(first: Array, second: Array) -> float:
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
