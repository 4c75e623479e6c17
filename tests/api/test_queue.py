"""A daemon with enough to do says so at once: 429 with Retry-After, before any byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from api.raw_client import connected
from conftest import EXACT_SETTINGS
from fake_server import fake_serving, says
from live import serving

from llmd.registry.instance import ModelInstance

ENDLESS: dict[str, Any] = {"prompt": "a", "max_tokens": -1, "stream": True}
ONE: dict[str, Any] = {"prompt": "b", "max_tokens": 2}


def refused(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 429, response.text
    assert 1 <= int(response.headers["retry-after"]) <= 60
    error: dict[str, Any] = response.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
    assert error["message"].endswith("--max-queue.")
    return error


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", ONE),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "b"}]}),
    ],
)
def test_one_too_many_is_a_429_streamed_or_not(
    path: str, body: dict[str, Any], stream: bool
) -> None:
    with (
        fake_serving(num_sequences=1, max_queue=1) as server,
        connected(server.live.port) as running,
        connected(server.live.port) as waiting,
        server.live.client() as client,
    ):
        for each in (running, waiting):
            each.post("/v1/completions", ENDLESS)
            server.watch.wait("submitted")
        refused(client.post(path, json={**body, "stream": stream}))


def test_a_place_that_is_free_again_is_given_to_the_next() -> None:
    with fake_serving(num_sequences=1, max_queue=0) as server, server.live.client() as client:
        with connected(server.live.port) as running:
            running.post("/v1/completions", ENDLESS)
            server.watch.wait("submitted")
            refused(client.post("/v1/completions", json=ONE))
        server.watch.wait("forgotten")
        answer = client.post("/v1/completions", json=ONE).json()
    assert answer["choices"][0]["text"] == says("b", 2)


@pytest.mark.parametrize("fields", [{"n": 2}, {"prompt": ["a", "b"]}, {"best_of": 2}])
def test_every_prompt_and_choice_takes_a_place(fields: dict[str, Any]) -> None:
    with (
        fake_serving(num_sequences=4, max_queue=0) as server,
        connected(server.live.port) as running,
        server.live.client() as client,
    ):
        running.post("/v1/completions", {**ENDLESS, "n": 3})
        server.watch.wait("submitted")
        refused(client.post("/v1/completions", json={**ONE, **fields}))
        assert client.post("/v1/completions", json=ONE).status_code == 200


def test_a_request_that_is_refused_costs_no_tokenizing() -> None:
    with (
        fake_serving(num_sequences=1, max_queue=0) as server,
        connected(server.live.port) as running,
        server.live.client() as client,
    ):
        running.post("/v1/completions", ENDLESS)
        server.watch.wait("submitted")
        tokenizer: Any = server.instance.model.tokenizer
        tokenizer.encode = None
        refused(client.post("/v1/completions", json=ONE))


@pytest.mark.gguf
def test_a_real_engine_takes_on_what_it_runs_and_no_more(llama_path: Path) -> None:
    settings = EXACT_SETTINGS.model_copy(
        update={"parallel": 1, "max_queue": 0, "ctx_size": 16_384, "kv_tokens": 16_384}
    )
    with (
        serving(lambda: ModelInstance("tiny-llama", llama_path, settings)) as server,
        server.client() as client,
    ):
        assert client.post("/v1/completions", json=ONE).status_code == 200
        with connected(server.port) as running:
            running.post("/v1/completions", ENDLESS)
            assert running.read_head()[0] == 200
            assert b"data: " in next(running.chunks())
            for stream in (True, False):
                refused(client.post("/v1/completions", json={**ONE, "stream": stream}))
