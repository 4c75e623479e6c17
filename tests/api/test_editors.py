"""What editors' plugins send, each request as its client writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from api.raw_client import connected
from fake_server import fake_serving
from live import LiveServer
from openai import DefaultHttpxClient, OpenAI

pytestmark = pytest.mark.gguf

FIM_PROMPT = "<|fim_prefix|>water = <|fim_suffix|>\nhouse()\n<|fim_middle|>"
STOPS = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
         "<|repo_name|>", "<|file_sep|>", "<|im_start|>", "<|im_end|>", "/src/", "#- coding: utf-8",
         "```"]  # fmt: skip


@pytest.fixture(scope="module")
def client(coder_server: LiveServer) -> Iterator[httpx.Client]:
    with coder_server.client() as client:
        yield client


def events(client: httpx.Client, path: str, body: dict[str, Any]) -> list[Any]:
    with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def filled(client: httpx.Client, **fields: Any) -> str:
    """What the gap is filled with, greedily."""
    body = {"prompt": FIM_PROMPT, "n_predict": 8, "temperature": 0, **fields}
    content: str = client.post("/completion", json=body).json()["content"]
    return content


def llama_vim(**fields: Any) -> dict[str, Any]:
    """As ggml-org/llama.vim asks, autoload/llama.vim."""
    return {
        "input_prefix": "one\ntwo\n", "input_suffix": "\nhouse()\n",
        "input_extra": [{"text": "def f():\n", "time": [12, 345], "filename": "src/f.py"}],
        "prompt": "water = ", "n_predict": 8, "n_indent": 0, "top_k": 40, "top_p": 0.99,
        "stream": False, "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True,
        "t_max_prompt_ms": 500, "t_max_predict_ms": 1500,
        "response_fields": [
            "content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms",
            "timings/prompt_per_second", "timings/predicted_n", "timings/predicted_ms",
            "timings/predicted_per_token_ms", "timings/predicted_per_second", "truncated",
            "tokens_cached",
        ],
        **fields,
    }  # fmt: skip


def test_llama_vim_gets_the_fields_that_it_shows(client: httpx.Client) -> None:
    body = llama_vim()
    answer = client.post("/infill", json=body).json()
    assert answer.keys() == set(body["response_fields"])
    assert isinstance(answer["content"], str)
    assert answer["timings/prompt_n"] > 0 and answer["timings/predicted_ms"] >= 0


def test_llama_vim_warms_the_cache_up(client: httpx.Client) -> None:
    extra = [{"text": f"def g{i}():\n    return {i}\n", "time": [1, 2], "filename": "g.py"}
             for i in range(3)]  # fmt: skip
    warm = llama_vim(
        input_prefix="", input_suffix="", prompt="", input_extra=extra, n_predict=0,
        temperature=0.0, samplers=[], t_max_prompt_ms=1, t_max_predict_ms=1, response_fields=[""],
    )  # fmt: skip
    assert client.post("/infill", json=warm).json() == {}
    answer = client.post("/infill", json=llama_vim(input_extra=extra)).json()
    assert answer["timings/prompt_n"] < answer["tokens_cached"]


def test_continue_with_the_llama_cpp_provider(client: httpx.Client) -> None:
    """core/llm/llms/LlamaCpp.ts: the prompt is written by a template of Continue's own."""
    body = {"prompt": FIM_PROMPT, "stream": True, "n_predict": 8, "temperature": 0, "stop": STOPS}
    found = events(client, "/completion", body)
    assert "".join(event["content"] for event in found if event["content"]) == filled(client)


def test_continue_with_a_suffix(client: httpx.Client) -> None:
    """core/llm/llms/OpenAI.ts and the like: prompt and suffix apart."""
    body = {"model": "tiny-coder", "prompt": "water = ", "suffix": "\nhouse()\n", "max_tokens": 8,
            "temperature": 0, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0,
            "stop": STOPS[:4], "stream": True}  # fmt: skip
    found = events(client, "/v1/completions", body)
    text = "".join(choice["text"] for event in found for choice in event["choices"])
    assert text == filled(client)


def test_continue_with_an_openai_client_and_its_own_template(
    client: httpx.Client, coder_server: LiveServer
) -> None:
    with OpenAI(
        base_url=f"{coder_server.url}/v1", api_key="none", max_retries=0,
        http_client=DefaultHttpxClient(trust_env=False),
    ) as openai:  # fmt: skip
        stream = openai.completions.create(
            model="tiny-coder", prompt=FIM_PROMPT, max_tokens=8, temperature=0, stream=True,
            stop=STOPS[:4],
        )  # fmt: skip
        assert "".join(chunk.choices[0].text for chunk in stream) == filled(client)


def test_continue_by_way_of_chat(client: httpx.Client) -> None:
    """Where a model is configured for chat alone, the prompt is one user message."""
    body = {"model": "tiny-coder", "messages": [{"role": "user", "content": FIM_PROMPT}],
            "max_tokens": 8, "temperature": 0, "stop": STOPS[:4], "stream": True}  # fmt: skip
    found = events(client, "/v1/chat/completions", body)
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in found)


def test_tabby_with_llama_cpp(client: httpx.Client) -> None:
    """crates/http-api-bindings/src/completion/llama.rs; its seed has 64 bits."""
    body = {"seed": 2**64 - 59, "prompt": FIM_PROMPT, "n_predict": 8, "temperature": 0.0,
            "stream": True, "penalty_last_n": 0, "presence_penalty": 0.0}  # fmt: skip
    found = events(client, "/completion", body)
    assert "".join(event["content"] for event in found) == filled(client)
    assert [event["stop"] for event in found] == [False] * (len(found) - 1) + [True]


@pytest.mark.parametrize("suffix", ["\nhouse()\n", None])
def test_tabby_with_an_openai_completion(client: httpx.Client, suffix: str | None) -> None:
    """completion/openai.rs: it reads up to the chunk with a finish_reason."""
    body = {"model": "tiny-coder", "prompt": "water = ", "suffix": suffix, "max_tokens": 8,
            "temperature": 0.0, "stream": True, "presence_penalty": 0.0}  # fmt: skip
    found = events(client, "/v1/completions", body)
    text = "".join(event["choices"][0]["text"] for event in found)
    assert text == (filled(client) if suffix else filled(client, prompt="water = "))
    assert found[-1]["choices"][0]["finish_reason"] == "length"


def test_an_editor_that_hangs_up_ends_its_request() -> None:
    """llama.vim stops its curl, Continue aborts its fetch, before they ask again."""
    with fake_serving() as server:
        with connected(server.live.port) as older:
            older.post("/completion", {"prompt": "older", "n_predict": -1, "stream": False})
            server.watch.wait("added")
        server.watch.wait("aborted")
