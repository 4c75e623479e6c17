from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from direct import direct
from live import LiveServer, serving
from zoo.bert import RANK, write_bert
from zoo.qwen3 import RERANK_TEMPLATE, write_qwen3

from llmd.config.settings import ModelSettings
from llmd.registry.instance import ModelInstance
from llmd.serving.pair import INSTRUCTION
from llmd.serving.rerank import SYSTEM

pytestmark = pytest.mark.gguf

QUERY = "where is the water"
DOCUMENTS = ("the sea is water", "a house", "the eye of the hand", "land and air")
CONTEXT = 128


@pytest.fixture(scope="module")
def bert_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rerank") / "bert.gguf"
    return write_bert(path, pooling=RANK, with_head=True, context_length=CONTEXT)


def served(path: Path, **fields: Any) -> Any:
    settings = ModelSettings(threads=1, **fields)
    return serving(lambda: ModelInstance("ranker", path, settings))


@pytest.fixture(scope="module")
def bert(bert_path: Path) -> Iterator[LiveServer]:
    with served(bert_path) as live:
        yield live


@pytest.fixture(scope="module")
def client(bert: LiveServer) -> Iterator[httpx.Client]:
    with bert.client() as each:
        yield each


def rerank(client: httpx.Client, route: str = "/v1/rerank", **fields: Any) -> Any:
    body = {"query": QUERY, "documents": list(DOCUMENTS)} | fields
    response = client.post(route, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def refused(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"query": QUERY, "documents": list(DOCUMENTS)} | fields
    response = client.post("/v1/rerank", json=body)
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def by_index(results: list[dict[str, Any]], key: str = "relevance_score") -> list[float]:
    return [each[key] for each in sorted(results, key=lambda each: each["index"])]


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_scores_are_those_of_the_head(client: httpx.Client, bert_path: Path) -> None:
    with direct(bert_path, "rank", context_length=CONTEXT) as alone:
        # [CLS] query [SEP] document, as llama.cpp's server joins them for this vocabulary.
        query = alone.tokens(QUERY)
        logits = [
            float(alone.values([*query, *alone.tokens(text)[1:-1]], 1)[0]) for text in DOCUMENTS
        ]
    found = by_index(rerank(client)["results"])
    assert found == pytest.approx([sigmoid(logit) for logit in logits], abs=1e-3)
    raw = by_index(rerank(client, raw_scores=True)["results"])
    assert raw == pytest.approx(logits, abs=1e-2)


def test_the_answer_is_sorted_and_has_the_shape_that_clients_expect(client: httpx.Client) -> None:
    body = rerank(client)
    scores = [each["relevance_score"] for each in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(each["index"] for each in body["results"]) == [0, 1, 2, 3]
    assert body["model"] == "ranker"
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    assert body["meta"]["tokens"]["input_tokens"] == body["usage"]["prompt_tokens"]
    assert "document" not in body["results"][0]


def test_the_best_may_be_asked_for_with_their_texts(client: httpx.Client) -> None:
    every = rerank(client)["results"]
    best = rerank(client, top_n=2, return_documents=True)["results"]
    assert [each["index"] for each in best] == [each["index"] for each in every[:2]]
    assert [each["document"]["text"] for each in best] == [
        DOCUMENTS[each["index"]] for each in best
    ]
    assert len(rerank(client, top_n=100)["results"]) == 4


def test_documents_may_be_objects(client: httpx.Client) -> None:
    objects = [{"text": text} for text in DOCUMENTS]
    plain = by_index(rerank(client)["results"])
    assert by_index(rerank(client, documents=objects)["results"]) == pytest.approx(plain, abs=1e-3)


def test_texts_are_answered_as_tei_does(client: httpx.Client) -> None:
    found = rerank(client, documents=None, texts=list(DOCUMENTS), return_text=True)
    assert [each["text"] for each in found] == [DOCUMENTS[each["index"]] for each in found]
    plain = by_index(rerank(client)["results"])
    assert by_index(found, "score") == pytest.approx(plain, abs=1e-3)


@pytest.mark.parametrize(
    "route", ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking"]
)
def test_it_is_served_under_all_its_names(route: str, client: httpx.Client) -> None:
    assert len(rerank(client, route)["results"]) == 4


def test_a_document_beyond_the_context_is_refused_or_cut(client: httpx.Client) -> None:
    documents = [*DOCUMENTS, "water " * 300]
    error = refused(client, documents=documents)
    assert (error["param"], error["code"]) == ("documents.4", "context_length_exceeded")
    assert error["n_ctx"] == CONTEXT < error["n_prompt_tokens"]
    assert len(rerank(client, documents=documents, truncate=True)["results"]) == 5


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"documents": []}, "documents"),
        ({"documents": None}, "documents"),
        ({"query": None}, "query"),
        ({"top_n": 0}, "top_n"),
    ],
)
def test_what_is_missing_is_named(fields: Any, param: str, client: httpx.Client) -> None:
    assert refused(client, **fields)["param"] == param


def test_a_ranker_has_no_embeddings(client: httpx.Client) -> None:
    response = client.post("/v1/embeddings", json={"input": "water"})
    assert response.status_code == 400
    assert "POST /v1/rerank" in response.json()["error"]["message"]
    (model,) = client.get("/v1/models").json()["data"]
    assert model["capabilities"] == ["rerank"]


def test_a_model_that_embeds_does_not_rank(tmp_path: Path) -> None:
    with served(write_bert(tmp_path / "bert.gguf")) as live, live.client() as client:
        assert "does not rank" in refused(client)["message"]


def test_a_converted_llm_reranker_fills_its_template(tmp_path: Path) -> None:
    path = write_qwen3(
        tmp_path / "qwen3.gguf", pooling=RANK, with_head=True, rerank_template=RERANK_TEMPLATE
    )
    with direct(path, "rank") as alone:
        prompts = [
            RERANK_TEMPLATE.replace("{query}", QUERY).replace("{document}", text)
            for text in DOCUMENTS
        ]
        # Its head ends with a softmax over yes and no.
        expected = [float(alone.values(alone.tokens(text), 2)[0]) for text in prompts]
    with served(path) as live, live.client() as client:
        assert by_index(rerank(client)["results"]) == pytest.approx(expected, abs=1e-3)


def test_special_tokens_in_a_document_are_text(tmp_path: Path) -> None:
    path = write_qwen3(
        tmp_path / "qwen3.gguf", pooling=RANK, with_head=True, rerank_template=RERANK_TEMPLATE
    )
    spelled = "a house<|im_end|>"
    with served(path) as live, live.client() as client:
        plain, marked = (
            rerank(client, documents=[text])["usage"]["prompt_tokens"]
            for text in ("a house", spelled)
        )
    assert marked > plain + 1


@pytest.mark.parametrize("template", [None, RERANK_TEMPLATE])
def test_a_model_that_writes_ranks_by_yes_and_no(template: str | None, tmp_path: Path) -> None:
    path = write_qwen3(tmp_path / "qwen3.gguf", rerank_template=template)
    with served(path, flash_attn="off") as live, live.client() as client:
        body = rerank(client)
        scores = by_index(body["results"])
        assert len(set(scores)) == 4
        assert all(0 < score < 1 for score in scores)
        raw = by_index(rerank(client, raw_scores=True)["results"])
        assert scores == pytest.approx([sigmoid(logit) for logit in raw], abs=2e-2)
        for index, text in enumerate(DOCUMENTS):
            expected = preference(live, client, text, template)
            assert raw[index] == pytest.approx(expected, abs=5e-2)


def preference(
    live: LiveServer, client: httpx.Client, document: str, template: str | None
) -> float:
    """The difference of the logprobs of yes and no, by way of /v1/completions."""
    if template is None:
        user = f"<Instruct>: {INSTRUCTION}\n<Query>: {QUERY}\n<Document>: {document}"
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]
        prompt = client.post("/apply-template", json={"messages": messages}).json()["prompt"]
    else:
        prompt = template.replace("{query}", QUERY).replace("{document}", document)
    found = []
    for word in ("yes", "no"):
        token = live.instance.model.tokenizer.encode_inside(word, parse_special=True)[0]
        body = {
            "prompt": prompt,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 0,
            "logit_bias": {str(token): 1000},
        }
        choice = client.post("/v1/completions", json=body).json()["choices"][0]
        assert choice["text"] == word
        found.append(choice["logprobs"]["token_logprobs"][0])
    yes, no = found
    return float(yes - no)


def test_it_needs_the_two_words(tmp_path: Path) -> None:
    path = write_qwen3(tmp_path / "qwen3.gguf", user_defined=())
    with served(path) as live, live.client() as client:
        error = refused(client)
    assert (error["code"], "no single tokens" in error["message"]) == ("unsupported", True)


@pytest.mark.parametrize("template", [None, RERANK_TEMPLATE])
def test_it_refuses_or_cuts_what_is_too_long(template: str | None, tmp_path: Path) -> None:
    path = write_qwen3(tmp_path / "qwen3.gguf", context_length=512, rerank_template=template)
    with served(path, ctx_size=512) as live, live.client() as client:
        documents = [*DOCUMENTS, "water " * 1000]
        assert refused(client, documents=documents)["param"] == "documents.4"
        assert len(rerank(client, documents=documents, truncate=True)["results"]) == 5
