from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from direct import cosine, direct
from langchain_openai import OpenAIEmbeddings
from live import LiveServer, serving
from pydantic import SecretStr
from words import WORDS
from zoo.bert import write_bert
from zoo.qwen3 import write_qwen3

from llmd.config.settings import ModelSettings
from llmd.registry.instance import ModelInstance

pytestmark = pytest.mark.gguf

CONTEXT = 128
TEXTS = ("the water is hot", "a house by the sea", "42")
LONG = "water " * 200


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("embeddings")
    return write_bert(directory / "bert.gguf", context_length=CONTEXT)


@pytest.fixture(scope="module")
def server(path: Path) -> Iterator[LiveServer]:
    with serving(lambda: ModelInstance("tiny-bert", path, ModelSettings(threads=1))) as live:
        yield live


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client() as each:
        yield each


def embed(client: httpx.Client, input: Any, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/embeddings", json={"input": input, **fields})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def vectors(body: dict[str, Any]) -> list[list[float]]:
    assert [each["index"] for each in body["data"]] == list(range(len(body["data"])))
    return [each["embedding"] for each in body["data"]]


def refused(client: httpx.Client, input: Any, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/embeddings", json={"input": input, **fields})
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def test_the_answer_is_of_the_shape_of_the_api(client: httpx.Client) -> None:
    body = embed(client, TEXTS[0], user="somebody")
    assert (body["object"], body["model"]) == ("list", "tiny-bert")
    assert body["data"][0]["object"] == "embedding"
    assert body["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    (vector,) = vectors(body)
    assert len(vector) == 64
    assert np.linalg.norm(vector) == pytest.approx(1)


def test_it_is_that_of_llama_cpp(client: httpx.Client, path: Path) -> None:
    with direct(path, "mean", context_length=CONTEXT) as alone:
        for text, vector in zip(TEXTS, vectors(embed(client, TEXTS)), strict=True):
            assert cosine(np.array(vector, np.float32), alone.embedding(text)) >= 0.9999


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_it_is_served_with_and_without_v1(prefix: str, client: httpx.Client) -> None:
    assert client.post(f"{prefix}/embeddings", json={"input": "water"}).status_code == 200


def test_token_ids_are_taken_as_they_are(server: LiveServer, client: httpx.Client) -> None:
    encode = server.instance.model.tokenizer.encode
    ids = [encode(text, add_special=True, parse_special=True) for text in TEXTS]
    expected = vectors(embed(client, TEXTS))
    np.testing.assert_allclose(vectors(embed(client, ids)), expected, atol=1e-3)
    np.testing.assert_allclose(vectors(embed(client, ids[0])), expected[:1], atol=1e-3)


def test_base64_is_of_little_endian_floats(client: httpx.Client) -> None:
    (numbers,) = vectors(embed(client, "water"))
    (text,) = vectors(embed(client, "water", encoding_format="base64"))
    assert isinstance(text, str)
    assert struct.unpack("<64f", base64.b64decode(text)) == pytest.approx(numbers, abs=1e-6)


def test_fewer_dimensions_may_be_asked_for(client: httpx.Client) -> None:
    (vector,) = vectors(embed(client, "water", dimensions=8))
    assert len(vector) == 8
    assert np.linalg.norm(vector) == pytest.approx(1)
    error = refused(client, "water", dimensions=65)
    assert (error["param"], "at most 64" in error["message"]) == ("dimensions", True)


def test_2048_inputs_are_one_call(client: httpx.Client) -> None:
    inputs = [f"{WORDS[n % len(WORDS)]} {WORDS[n // 7 % len(WORDS)]} {n}" for n in range(2048)]
    body = embed(client, inputs)
    assert len(vectors(body)) == 2048
    for index in (0, 1000, 2047):
        (alone,) = vectors(embed(client, inputs[index]))
        assert cosine(np.array(alone), np.array(vectors(body)[index])) >= 0.9999


def test_an_input_up_to_the_context_is_embedded(server: LiveServer, client: httpx.Client) -> None:
    assert server.instance.model.context_size == CONTEXT
    text = "water " * (CONTEXT - 2)
    assert embed(client, ["hot", text])["usage"]["prompt_tokens"] == CONTEXT + 3


def test_a_longer_one_is_refused_by_its_index_with_both_numbers(client: httpx.Client) -> None:
    error = refused(client, ["water", LONG])
    assert error["param"] == "input.1"
    assert error["code"] == "context_length_exceeded"
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (202, CONTEXT)


def test_or_truncated_where_asked_for(client: httpx.Client, server: LiveServer, path: Path) -> None:
    body = embed(client, LONG, truncate=True)
    assert body["usage"]["prompt_tokens"] == CONTEXT
    expected = vectors(embed(client, "water " * (CONTEXT - 2)))
    assert cosine(np.array(vectors(body)[0]), np.array(expected[0])) >= 0.9999


@pytest.mark.parametrize(
    ("input", "param"),
    [
        ("", "input.0"),
        (["water", ""], "input.1"),
        ([], "input"),
        ([[]], "input.0"),
        ([[1, 2], [999_999]], "input.1"),
        ([-1], "input.0"),
        (["water", 3], None),
        ({"text": "water"}, None),
    ],
)
def test_what_is_no_input_is_refused(input: Any, param: str | None, client: httpx.Client) -> None:
    error = refused(client, input)
    assert param is None or error["param"] == param
    assert error["type"] == "invalid_request_error"


def test_an_unknown_format_is_refused(client: httpx.Client) -> None:
    assert refused(client, "water", encoding_format="hex")["param"] == "encoding_format"


def test_a_model_that_embeds_answers_no_chat(client: httpx.Client) -> None:
    for route, body in (
        ("chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
        ("completions", {"prompt": "hello"}),
    ):
        response = client.post(f"/v1/{route}", json=body)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("unsupported", "model")
        assert "POST /v1/embeddings" in error["message"]


def test_a_model_that_writes_says_how_to_serve_one_that_embeds(llama_server: LiveServer) -> None:
    with llama_server.client() as client:
        error = refused(client, "water")
    assert error["code"] == "unsupported"
    assert "has no embeddings" in error["message"]
    assert "llmd serve MODEL --embeddings" in error["message"]


def test_models_tells_that_it_embeds(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert model["capabilities"] == ["embedding"]
    assert (model["pooling"], model["dimensions"]) == ("mean", 64)
    assert model["architecture"]["output_modalities"] == ["embedding"]
    assert model["context_length"] == CONTEXT


def test_tokens_can_be_counted_all_the_same(client: httpx.Client) -> None:
    response = client.post("/tokenize", json={"content": "the water"})
    assert response.status_code == 200, response.text
    assert len(response.json()["tokens"]) == 2


def test_openai_python_gets_its_base64(server: LiveServer) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any") as client:
        found = client.embeddings.create(model="tiny-bert", input=list(TEXTS))
        plain = client.embeddings.create(
            model="tiny-bert", input=list(TEXTS), encoding_format="float", dimensions=16
        )
    assert [len(each.embedding) for each in found.data] == [64] * 3
    assert [len(each.embedding) for each in plain.data] == [16] * 3
    assert found.usage.prompt_tokens == plain.usage.prompt_tokens > 0


def test_langchain_embeds(server: LiveServer) -> None:
    embeddings = OpenAIEmbeddings(
        model="tiny-bert",
        base_url=f"{server.url}/v1",
        api_key=SecretStr("any"),
        check_embedding_ctx_length=False,
    )
    documents = embeddings.embed_documents(list(TEXTS))
    assert len(documents) == 3
    query = embeddings.embed_query(TEXTS[0])
    assert cosine(np.array(query), np.array(documents[0])) >= 0.9999


def test_a_chat_model_embeds_with_a_flag(tmp_path: Path) -> None:
    path = write_qwen3(tmp_path / "qwen3.gguf")
    settings = ModelSettings(threads=1, embeddings=True)
    with (
        serving(lambda: ModelInstance("m", path, settings)) as live,
        live.client() as client,
        direct(path, "last") as alone,
    ):
        for text, vector in zip(TEXTS, vectors(embed(client, TEXTS)), strict=True):
            assert cosine(np.array(vector, np.float32), alone.embedding(text)) >= 0.9999
