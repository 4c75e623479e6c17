"""Contexts over tiny models, and what they compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmd.llama.batch import LlamaBatch
from llmd.llama.context import ContextParams, DecodeStatus, LlamaContext, Row
from llmd.llama.model import LlamaModel

TOLERANCE = 1e-2
"""Logits reach 12, and another shape of batch sums in another order: 1e-3 in the worst case. Other
tokens in the memory change them by more than 0.1."""


def params_of(**fields: Any) -> ContextParams:
    values: dict[str, Any] = {
        "num_cells": 512, "num_sequences": 4, "max_rows": 64, "batch_size": 256, "ubatch_size": 64,
        "num_threads": 1, "num_threads_batch": 1, "flash_attention": "off",
        "cache_type_k": "f32", "cache_type_v": "f32",
    }  # fmt: skip
    return ContextParams(**(values | fields))


@contextmanager
def context_of(model: LlamaModel, **fields: Any) -> Iterator[LlamaContext]:
    context = LlamaContext(model, params_of(**fields))
    try:
        yield context
    finally:
        context.free()


def ids(model: LlamaModel, text: str) -> list[int]:
    return model.tokenizer.encode(text, add_special=True, parse_special=True)


def rows(context: LlamaContext, *items: tuple[int, int, list[int]]) -> list[NDArray[np.float32]]:
    """Decode (sequence, start, tokens) together; the last row of each."""
    batch = LlamaBatch(256)
    for sequence_id, start, tokens in items:
        batch.add(sequence_id, start, tokens, 1)
    assert context.decode(batch, len(items)) is DecodeStatus.OK
    return [context.row(index).copy() for index in range(len(items))]


def row(context: LlamaContext, sequence_id: int, start: int, tokens: list[int]) -> Row:
    return rows(context, (sequence_id, start, tokens))[0]


def assert_close(first: Row, second: Row) -> None:
    np.testing.assert_allclose(first, second, atol=TOLERANCE)
