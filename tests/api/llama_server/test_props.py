"""GET /props and /slots, and /v1/models: what clients find out before they ask."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from api.raw_client import connected
from fake_server import FakeServer, fake_serving
from live import LiveServer

from llmd.config.settings import ServerSettings


@pytest.fixture(scope="module")
def client(llama_server: LiveServer) -> Iterator[httpx.Client]:
    with llama_server.client() as client:
        yield client


@pytest.mark.gguf
def test_props_tell_the_window_the_template_and_the_defaults(client: httpx.Client) -> None:
    props = client.get("/props").json()
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["default_generation_settings"]["params"]["top_k"] == 40
    assert props["total_slots"] == 8
    assert "<|im_start|>" in props["chat_template"]
    assert (props["bos_token"], props["eos_token"]) == ("<s>", "</s>")
    assert props["modalities"] == {"vision": False, "audio": False, "video": False}
    assert (props["model_alias"], props["is_sleeping"]) == ("tiny-llama", False)
    assert props["build_info"].startswith("llmd-")


@pytest.mark.gguf
def test_props_tell_what_the_template_can_do(client: httpx.Client) -> None:
    assert client.get("/props").json()["chat_template_caps"] == {
        "supports_string_content": True,
        "supports_typed_content": False,
        "supports_system_role": True,
        "supports_tools": False,
        "supports_tool_calls": False,
        "supports_parallel_tool_calls": False,
        "supports_object_arguments": False,
    }


@pytest.mark.gguf
def test_props_do_not_tell_where_files_lie(client: httpx.Client) -> None:
    assert client.get("/v1/props").json()["model_path"] == "llama.gguf"


def test_props_cannot_be_changed(client: httpx.Client) -> None:
    for nothing in (b"", b"{}", b" {} "):
        assert client.post("/props", content=nothing).json() == {"success": True}
    response = client.post("/props", json={"n_ctx": 5, "more": "x" * 100_000})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "unsupported"


@pytest.mark.gguf
def test_every_key_of_the_window_tells_the_one_that_holds(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    keys = ("context_length", "max_context_length", "loaded_context_length", "max_model_len",
            "context_window")  # fmt: skip
    assert {model[key] for key in keys} == {model["meta"]["n_ctx"]} == {512}
    assert model["meta"]["n_ctx_train"] == 2048
    assert model["architecture"]["input_modalities"] == ["text"]
    body = {"prompt": [5] * 511, "max_tokens": 5}
    assert client.post("/v1/completions", json=body).status_code == 200
    assert client.post("/v1/completions", json={"prompt": [5] * 512}).status_code == 400


@pytest.mark.gguf
def test_models_that_fill_gaps_say_so(client: httpx.Client, coder_server: LiveServer) -> None:
    assert "insert" not in client.get("/v1/models").json()["data"][0]["capabilities"]
    with coder_server.client() as coder:
        assert "insert" in coder.get("/v1/models").json()["data"][0]["capabilities"]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_serving(num_sequences=2) as server:
        yield server


def busy(client: httpx.Client) -> list[bool]:
    return [slot["is_processing"] for slot in client.get("/slots").json()]


def test_slots_show_how_many_are_at_work_and_nothing_else(server: FakeServer) -> None:
    with server.live.client() as client:
        assert busy(client) == [False, False]
        with connected(server.live.port) as other:
            other.post("/v1/completions", {"prompt": "secret", "max_tokens": -1, "stream": True})
            server.watch.wait("added")
            assert busy(client) == [True, False]
            slots = client.get("/slots").json()
            assert all(
                slot.keys() == {"id", "n_ctx", "speculative", "is_processing"} for slot in slots
            )
        server.watch.wait("forgotten")
        assert busy(client) == [False, False]


def test_no_slot_is_an_error_where_asked_for(server: FakeServer) -> None:
    with server.live.client() as client, connected(server.live.port) as other:
        assert client.get("/slots?fail_on_no_slot=1").status_code == 200
        prompts = {"prompt": ["a", "b", "c"], "max_tokens": -1, "stream": True}
        other.post("/v1/completions", prompts)
        server.watch.wait("added")
        response = client.get("/slots?fail_on_no_slot=1")
        assert response.status_code == 503
        assert "retry-after" in response.headers
        assert busy(client) == [True, True]


def test_a_model_that_loads_is_not_waited_for() -> None:
    with fake_serving(may_load=False) as server, server.live.client() as client:
        for path in ("/props", "/slots"):
            response = client.get(path)
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "model_loading"


def test_the_model_may_be_named() -> None:
    with fake_serving(ServerSettings(strict_model_names=True)) as server:
        with server.live.client() as client:
            assert client.get("/props?model=fake").status_code == 200
            assert client.get("/slots?model=other").status_code == 404
