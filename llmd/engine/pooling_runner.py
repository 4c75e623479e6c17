"""A step of texts to be pooled, computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmd.engine.governor import ThreadGovernor
from llmd.engine.runner import DecodeFailed, NoRoom
from llmd.llama.batch import LlamaBatch
from llmd.llama.context import DecodeStatus
from llmd.llama.model import LlamaModel
from llmd.llama.pooling_context import PoolingContext, Values


@dataclass(frozen=True, slots=True)
class TextPart:
    """Tokens of a text from position `start` on."""

    sequence_id: int
    start: int
    tokens: Sequence[int]


class PoolingRunner(Protocol):
    """What the pooling engine asks of the model. Engine thread only."""

    @property
    def looks_ahead(self) -> bool:
        """Whether a text has to be computed as a whole."""
        ...

    def forward(self, parts: Sequence[TextPart]) -> list[Values]:
        """Compute parts of different texts; what pooling makes of each by itself. Raises NoRoom or
        DecodeFailed: then nothing is known of these texts but what `forget` leaves.
        """
        ...

    def forget(self, sequence_id: int) -> None: ...

    def close(self) -> None: ...


class ModelPoolingRunner:
    """The PoolingRunner over llama.cpp; owns model and context. `batch_size` is the most tokens of
    a call. `governor` None leaves the number of threads as the context was made with.
    """

    def __init__(
        self,
        model: LlamaModel,
        context: PoolingContext,
        *,
        batch_size: int,
        governor: ThreadGovernor | None = None,
    ) -> None:
        self._model = model
        self._context = context
        self._batch = LlamaBatch(batch_size)
        self._governor = governor
        self._num_threads = 0

    @property
    def looks_ahead(self) -> bool:
        return self._context.looks_ahead

    def forward(self, parts: Sequence[TextPart]) -> list[Values]:
        self._adjust_threads()
        self._batch.clear()
        for part in parts:
            tokens = list(part.tokens)
            self._batch.add(part.sequence_id, part.start, tokens, num_logits=len(tokens))
        match self._context.decode(self._batch):
            case DecodeStatus.NO_ROOM:
                raise NoRoom
            case DecodeStatus.FAILED:
                raise DecodeFailed
            case DecodeStatus.OK:
                return [self._context.values(part.sequence_id) for part in parts]

    def forget(self, sequence_id: int) -> None:
        self._context.forget(sequence_id)

    def close(self) -> None:
        self._context.free()
        self._model.free()

    def _adjust_threads(self) -> None:
        if self._governor is None:
            return
        num_threads = self._governor.num_threads()
        if num_threads != self._num_threads:
            self._num_threads = num_threads
            self._context.set_threads(num_threads, num_threads)
