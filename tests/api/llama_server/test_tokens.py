"""POST /tokenize and /detokenize, as llama-server answers them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live import LiveServer

pytestmark = pytest.mark.gguf


@pytest.fixture(scope="module")
def client(llama_server: LiveServer) -> Iterator[httpx.Client]:
    with llama_server.client() as client:
        yield client


def tokens(client: httpx.Client, content: Any, **fields: Any) -> Any:
    response = client.post("/tokenize", json={"content": content, **fields})
    assert response.status_code == 200, response.text
    return response.json()["tokens"]


def text_of(client: httpx.Client, token_ids: list[int]) -> str:
    response = client.post("/detokenize", json={"tokens": token_ids})
    assert response.status_code == 200, response.text
    content: str = response.json()["content"]
    return content


def test_text_comes_back(client: httpx.Client) -> None:
    for text in (" the water is 42% hot", " caf\u00e9 \U0001f30a", " <|im_end|>", " x" * 12000):
        assert text_of(client, tokens(client, text)).strip() == text.strip()


def test_a_beginning_is_added_where_asked_for(client: httpx.Client, llama_server: Any) -> None:
    bos_id = llama_server.instance.model.tokenizer.bos_id
    plain = tokens(client, "the water")
    assert tokens(client, "the water", add_special=True) == [bos_id, *plain]


def test_special_tokens_are_parsed_unless_told_otherwise(client: httpx.Client) -> None:
    assert len(tokens(client, "<|im_end|>")) < len(
        tokens(client, "<|im_end|>", parse_special=False)
    )


def test_pieces_are_text_or_bytes(client: httpx.Client) -> None:
    pieces = tokens(client, "the \u00e9", with_pieces=True)
    assert [each["id"] for each in pieces] == tokens(client, "the \u00e9")
    assert pieces[0]["piece"] == " the"
    assert [each["piece"] for each in pieces[-2:]] == [[0xC3], [0xA9]]


def test_a_mix_keeps_its_ids(client: httpx.Client) -> None:
    mixed = tokens(client, ["the", 5, 6], add_special=True)
    assert mixed == [*tokens(client, "the", add_special=True), 5, 6]


def test_nothing_has_no_tokens(client: httpx.Client) -> None:
    assert tokens(client, "") == []
    assert text_of(client, []) == ""


def test_a_field_that_is_left_out_is_nothing(client: httpx.Client) -> None:
    assert client.post("/tokenize", json={}).json() == {"tokens": []}
    assert client.post("/detokenize", json={}).json() == {"content": ""}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {"content": 5}, "content"),
        ("/tokenize", {"content": ["a", 999999]}, "content.1"),
        ("/tokenize", {"content": "a", "with_pieces": 1}, "with_pieces"),
        ("/detokenize", {"tokens": "5"}, "tokens"),
        ("/detokenize", {"tokens": [5, -1]}, "tokens.1"),
        ("/detokenize", {"tokens": [1 << 40]}, "tokens.0"),
    ],
)
def test_a_fault_is_a_400_that_names_the_field(
    client: httpx.Client, path: str, body: dict[str, Any], param: str
) -> None:
    for prefix in ("", "/v1"):
        response = client.post(prefix + path, json=body)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param
