"""What a client asks of a model that reads and does not write, and what it gets."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from llmd.core.request import TextPrompt, TokenPrompt


class Pooling(Enum):
    """How the vectors of a text's tokens become one result."""

    MEAN = "mean"
    CLS = "cls"
    """That of the first token."""
    LAST = "last"
    """That of the last token."""
    RANK = "rank"
    """A classification head's verdict on a query and a document."""


POOLING_BY_NUMBER = {1: Pooling.MEAN, 2: Pooling.CLS, 3: Pooling.LAST, 4: Pooling.RANK}
"""By what stands in a model file: llama.h enum llama_pooling_type. 0 is none."""

Vector: TypeAlias = "array[float]"
"""32-bit floats (type code f), in the machine's own byte order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingTraits:
    """How a model that does not write answers. `num_dimensions` are those of its embeddings, or the
    labels of its classification head. `gives_probabilities` tells a head whose outputs are from 0
    to 1 from one whose outputs are logits.
    """

    pooling: Pooling
    num_dimensions: int
    gives_probabilities: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """Texts to be embedded, each by itself. `dimensions` keeps the first ones only; `truncate` cuts
    what is longer than the context, which is refused otherwise. `keep_alive` is as GenerateRequest
    has it.
    """

    model: str | None
    inputs: tuple[TextPrompt | TokenPrompt, ...]
    dimensions: int | None = None
    truncate: bool = False
    tenant: str = ""
    priority: int = 0
    keep_alive: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vector of length 1 for each input, in order."""

    model_name: str
    vectors: tuple[Vector, ...]
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """Documents to be ranked by how well they answer a query. `instruction` is the task, for models
    that are told one. `is_raw` asks for a head's own output in place of a probability.
    `keep_alive` is as GenerateRequest has it.
    """

    model: str | None
    query: str
    documents: tuple[str, ...]
    instruction: str | None = None
    truncate: bool = False
    is_raw: bool = False
    tenant: str = ""
    priority: int = 0
    keep_alive: float | None = None


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """Document `index` of the request. `score` is a probability from 0 to 1, unless asked raw."""

    index: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """All documents of a request, the most relevant first."""

    model_name: str
    documents: tuple[RankedDocument, ...]
    num_tokens: int
