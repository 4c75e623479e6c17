"""POST /v1/rerank, as Jina, Cohere, llama-server and (with `texts`) TEI have it."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmd.api import json_body
from llmd.api.admission import admitted, deadline_of
from llmd.api.disconnect import until_disconnect
from llmd.api.json_body import JsonModel
from llmd.api.keep_alive import KeepAliveField
from llmd.api.openai.schema_sampling import MAX_PRIORITY
from llmd.api.state import ApiState, state_of
from llmd.api.tenant import tenant_of
from llmd.core.embedding import RankedDocument, Ranking, RerankRequest
from llmd.errors import InvalidRequest
from llmd.serving.deadline import before
from llmd.serving.rerank import rerank


class DocumentText(JsonModel):
    text: str


class RerankBody(KeepAliveField):
    """`texts`, `return_text` and `raw_scores` are TEI's names, `truncation` is Jina's. Without
    `raw_scores` every score is from 0 to 1.
    """

    model: str | None = None
    query: str
    documents: list[str | DocumentText] | None = None
    texts: list[str] | None = None
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False
    return_text: bool = False
    raw_scores: bool = False
    truncate: bool = False
    truncation: bool = False
    instruction: str | None = None
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0

    @property
    def is_plain(self) -> bool:
        """Whether the answer is TEI's bare list."""
        return self.documents is None and self.texts is not None

    def contents(self) -> tuple[str, ...]:
        """Raises InvalidRequest where there are none."""
        given = self.texts if self.documents is None else self.documents
        if not given:
            raise InvalidRequest(
                "there are no documents to rank. Send a list of texts as 'documents'.",
                param="documents",
            )
        return tuple(each if isinstance(each, str) else each.text for each in given)

    def to_core(self, *, tenant: str = "") -> RerankRequest:
        """Raises InvalidRequest, naming the field."""
        return RerankRequest(
            model=self.model,
            query=self.query,
            documents=self.contents(),
            instruction=self.instruction,
            truncate=self.truncate or self.truncation,
            is_raw=self.raw_scores,
            tenant=tenant,
            priority=self.priority,
            keep_alive=self.keep_alive,
        )


async def create(request: Request) -> Response:
    state = state_of(request)
    body = await json_body.read(request, RerankBody, state.settings)
    return await until_disconnect(request.receive, _answer(state, body, tenant_of(request)))


async def _answer(state: ApiState, body: RerankBody, tenant: str) -> Response:
    request = admitted(state, body.to_core(tenant=tenant))
    async with before(deadline_of(state)):
        ranking = await rerank(state.registry, request)
    best = ranking.documents[: body.top_n]
    if body.is_plain:
        value: Any = [_plain(each, body.return_text, request.documents) for each in best]
    else:
        value = _encode(ranking, best, body.return_documents, request.documents)
    return Response(orjson.dumps(value), media_type="application/json")


def _encode(
    ranking: Ranking,
    best: tuple[RankedDocument, ...],
    with_documents: bool,
    documents: tuple[str, ...],
) -> dict[str, Any]:
    results = []
    for each in best:
        result: dict[str, Any] = {"index": each.index, "relevance_score": each.score}
        if with_documents:
            result["document"] = {"text": documents[each.index]}
        results.append(result)
    num_tokens = ranking.num_tokens
    return {
        "id": f"rerank-{secrets.token_hex(12)}",
        "object": "list",
        "model": ranking.model_name,
        "results": results,
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
        "meta": {"tokens": {"input_tokens": num_tokens, "output_tokens": 0}},
    }


def _plain(document: RankedDocument, with_text: bool, documents: tuple[str, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {"index": document.index, "score": document.score}
    if with_text:
        result["text"] = documents[document.index]
    return result


def routes(prefix: str) -> list[Route]:
    paths = [f"{prefix}/rerank", f"{prefix}/reranking"]
    if not prefix:
        paths.append("/v2/rerank")  # where Cohere's own client asks
    return [Route(path, create, methods=["POST"]) for path in paths]
