"""The body of POST /v1/embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llmd.api.keep_alive import KeepAliveField
from llmd.api.openai.schema_sampling import MAX_PRIORITY
from llmd.core.embedding import EmbedRequest
from llmd.core.request import TextPrompt, TokenPrompt
from llmd.errors import InvalidRequest


class EmbeddingRequest(KeepAliveField):
    """`truncate` and `priority` are llmd's own."""

    model: str | None = None
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    truncate: bool = False
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0

    def to_core(self, *, tenant: str = "") -> EmbedRequest:
        """Raises InvalidRequest, naming the field."""
        return EmbedRequest(
            model=self.model,
            inputs=self._inputs(),
            dimensions=self.dimensions,
            truncate=self.truncate,
            tenant=tenant,
            priority=self.priority,
            keep_alive=self.keep_alive,
        )

    def _inputs(self) -> tuple[TextPrompt | TokenPrompt, ...]:
        given = self.input
        if isinstance(given, str):
            return (TextPrompt(text=given),)
        if not given:
            raise InvalidRequest("the input is an empty list. Send some text.", param="input")
        token_ids = tuple(each for each in given if isinstance(each, int))
        if token_ids:
            return (TokenPrompt(token_ids=token_ids),)
        return tuple(
            TextPrompt(text=each) if isinstance(each, str) else TokenPrompt(token_ids=tuple(each))
            for each in given
            if not isinstance(each, int)
        )
