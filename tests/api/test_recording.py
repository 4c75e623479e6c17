"""What `--record` writes of requests, over the bundled model and a fake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_tools import WEATHER_QUESTION
from api.raw_client import connected
from fake_server import FakeServer, fake_serving
from live import serving

from llmd.api.app import create_app
from llmd.config.model_reference import resolve
from llmd.config.settings import ModelSettings, ServerSettings
from llmd.core.output import FinishReason
from llmd.errors import ConfigError
from llmd.recording.recording import Recording
from llmd.recording.recording_json import read
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SHORT = {"prompt": "abc", "max_tokens": 3}


def recordings(path: Path) -> list[Recording]:
    """Those of a server that has ended, the oldest first."""
    return [read(each) for each in sorted(path.glob("*.json"))]


@contextmanager
def recorded(path: Path) -> Iterator[FakeServer]:
    with fake_serving(ServerSettings(record=path)) as server:
        yield server


@pytest.mark.gguf
def test_a_chat_is_recorded_from_its_body_to_its_message(tmp_path: Path) -> None:
    def make() -> ModelInstance:
        return ModelInstance("tiny", resolve("tiny"), ModelSettings())

    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    body = {"messages": messages, "tools": [WEATHER], "temperature": 0.5, "stop": ["###"]}
    with serving(make, ServerSettings(record=tmp_path / "r")) as live, live.client() as client:
        whole = client.post("/v1/chat/completions", json=body).json()
        streamed = client.post("/v1/chat/completions", json={**body, "stream": True}).text
    first, second = recordings(tmp_path / "r")
    assert json.loads(first.body) == body
    generation, (choice,) = first.generation, first.choices
    assert generation is not None
    assert (generation.model, generation.fingerprint) == ("tiny", whole["system_fingerprint"])
    assert Path(generation.file) == resolve("tiny")
    assert generation.sampling.temperature == 0.5 and generation.sampling.seed is not None
    assert generation.stop == ("###",)
    assert WEATHER_QUESTION in generation.prompts[0] and "get_weather" in generation.prompts[0]
    message = whole["choices"][0]["message"]
    (call,) = choice.calls
    assert call.id == message["tool_calls"][0]["id"]
    assert call.arguments == message["tool_calls"][0]["function"]["arguments"]
    assert choice.reasoning == message.get("reasoning_content", "")
    assert "get_weather" in choice.raw and len(choice.raw) > len(call.arguments)
    assert choice.timings is not None
    assert choice.timings.num_generated == whole["usage"]["completion_tokens"]
    assert first.ttft_ms is not None and first.ttft_ms < first.duration_ms
    assert second.choices[0].calls[0].name == "get_weather" and "[DONE]" in streamed


def test_every_choice_of_every_prompt_is_recorded(tmp_path: Path) -> None:
    body = {"prompt": ["abc", "xy"], "max_tokens": 3, "n": 2}
    with recorded(tmp_path / "r") as server, server.live.client() as client:
        answer = client.post("/v1/completions", json=body).json()
    (recording,) = recordings(tmp_path / "r")
    assert recording.generation is not None and recording.generation.prompts == ("abc", "xy")
    texts = [choice["text"] for choice in answer["choices"]]
    assert [choice.content for choice in recording.choices] == texts
    assert [choice.raw for choice in recording.choices] == texts


def test_a_refusal_is_recorded_with_its_body(tmp_path: Path) -> None:
    with recorded(tmp_path / "r") as server, server.live.client() as client:
        client.post("/v1/completions", content=b'{"prompt": 1.5}')
        client.post("/v1/completions", content=b"{oops")
    first, second = recordings(tmp_path / "r")
    assert (first.status, first.error_code) == (400, "invalid_request")
    assert first.body == b'{"prompt": 1.5}' and first.generation is None
    assert second.body == b"{oops"


def test_what_a_client_left_is_recorded_as_far_as_it_came(tmp_path: Path) -> None:
    with recorded(tmp_path / "r") as server:
        with connected(server.live.port) as leaver:
            leaver.post("/v1/completions", {**SHORT, "max_tokens": -1, "stream": True})
            leaver.read_head()
            next(leaver.chunks())
        server.watch.wait("forgotten")
    (recording,) = recordings(tmp_path / "r")
    assert recording.status == 499
    assert recording.choices[0].raw and recording.choices[0].finish_reason is None


def test_an_engine_that_fails_is_recorded_as_far_as_it_came(tmp_path: Path) -> None:
    with recorded(tmp_path / "r") as server, connected(server.live.port) as client:
        client.post("/v1/completions", {**SHORT, "max_tokens": -1, "stream": True})
        client.read_head()
        chunks = client.chunks()
        next(chunks)
        server.runner.failure = RuntimeError("out of tea")
        list(chunks)
    (recording,) = recordings(tmp_path / "r")
    assert (recording.status, recording.error_code) == (200, "engine_failed")
    assert recording.choices[0].finish_reason is FinishReason.ERROR


def test_a_background_response_is_recorded_once_when_it_is_over(tmp_path: Path) -> None:
    body = {"input": "abc", "background": True, "max_output_tokens": 3}
    with recorded(tmp_path / "r") as server, server.live.client() as client:
        id_ = client.post("/v1/responses", json=body).json()["id"]
        client.get(f"/v1/responses/{id_}?stream=true")
    (recording,) = recordings(tmp_path / "r")
    assert (recording.method, recording.path) == ("BACKGROUND", f"/v1/responses/{id_}")
    assert json.loads(recording.body) == body
    assert len(recording.choices[0].content) == 3


def test_what_generates_nothing_and_fails_not_is_not_recorded(tmp_path: Path) -> None:
    with recorded(tmp_path / "r") as server, server.live.client() as client:
        client.get("/v1/models")
        client.get("/nowhere")
        assert client.post("/tokenize", json={"content": "abc"}).status_code == 200
    assert recordings(tmp_path / "r") == []


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer sk-abcdefgh1234"}, {"x-api-key": "sk-abcdefgh1234"}],
    ids=["bearer", "x-api-key"],
)
def test_no_key_is_in_the_file_whoever_said_it(tmp_path: Path, headers: dict[str, str]) -> None:
    body = {**SHORT, "prompt": "the key sk-abcdefgh1234", "user": "sk-abcdefgh1234"}
    with recorded(tmp_path / "r") as server, server.live.client() as client:
        client.post("/v1/completions?key=sk-abcdefgh1234", json=body, headers=headers)
    (file,) = (tmp_path / "r").iterdir()
    assert "abcdefgh" not in file.read_text() and "sk-" not in file.name
    assert "[redacted]" in file.read_text()


def test_a_directory_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "r").touch()
    with pytest.raises(ConfigError, match="--record"):
        instance = ModelInstance("tiny", None, ModelSettings())
        create_app(ModelRegistry([instance]), ServerSettings(record=tmp_path / "r"))
