"""From texts to token ids, for models that read and do not write."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

from llmd.core.embedding import Vector
from llmd.core.output import FinishReason
from llmd.engine.request import PoolingRequest
from llmd.errors import ContextLengthExceeded, EngineFailed
from llmd.registry.instance import ModelInstance
from llmd.serving.prompt import LONG_TEXT

T = TypeVar("T")


async def encoded(work: Callable[[], T], num_characters: int) -> T:
    """The result of `work`, done beside the event loop where there is much of it."""
    return await asyncio.to_thread(work) if num_characters > LONG_TEXT else work()


async def pool(
    instance: ModelInstance,
    texts: Sequence[tuple[int, ...]],
    *,
    dimensions: int | None = None,
    tenant: str,
    priority: int,
) -> tuple[Vector, ...]:
    """What the model's pooling makes of each text; cancelling this cancels the work. Raises
    QueueFull or EngineFailed.
    """
    outputs = instance.client.pool(
        PoolingRequest(
            id=secrets.token_hex(12),
            texts=tuple(texts),
            dimensions=dimensions,
            tenant=tenant,
            priority=priority,
        )
    )
    try:
        output = await anext(outputs)
    finally:
        outputs.abort()
    if output.finish_reason is FinishReason.ERROR:
        raise EngineFailed(f"{output.error}.")
    return output.vectors


def fitted(
    tokens: Sequence[int], context_size: int, *, num_kept: int, truncate: bool, param: str
) -> tuple[int, ...]:
    """Tokens that the context can hold: where they do not fit and `truncate` is set, cut before the
    last `num_kept`, which end every text. Raises ContextLengthExceeded where it is not.
    """
    if len(tokens) <= context_size:
        return tuple(tokens)
    if not truncate:
        raise ContextLengthExceeded(len(tokens), context_size, param=param)
    num_kept = min(num_kept, context_size)
    return (*tokens[: context_size - num_kept], *tokens[len(tokens) - num_kept :])
