"""--request-timeout: an answer ends with what it has, and one that has nothing is an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api.raw_client import connected
from fake_server import fake_serving

from llmd.config.duration import Duration
from llmd.config.settings import ServerSettings

SHORT = ServerSettings(request_timeout=Duration(0.3), sse_ping_interval=0)
LONG = ServerSettings(request_timeout=Duration(3600))

ENDLESS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": "a", "max_tokens": -1}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
]


@pytest.mark.parametrize(("path", "body"), ENDLESS)
def test_what_was_said_by_then_is_the_answer_at_its_length(path: str, body: dict[str, Any]) -> None:
    with fake_serving(SHORT) as server, server.live.client() as client:
        answer = client.post(path, json=body)
        assert answer.status_code == 200
        (choice,) = answer.json()["choices"]
        assert choice["finish_reason"] == "length"
        num_tokens = answer.json()["usage"]["completion_tokens"]
        text = choice["text"] if "text" in choice else choice["message"]["content"]
        assert len(text) == num_tokens > 0, "a token is a letter here"
        assert server.live.instance.client.num_unfinished == 0


def test_a_stream_ends_as_one_that_has_reached_its_length() -> None:
    body = {"prompt": "a", "max_tokens": -1, "stream": True, "stop": "never said"}
    with fake_serving(SHORT) as server, server.live.client() as client:
        lines = client.post("/v1/completions", json=body).text.split("\n\n")
    *events, done, _ = (line.removeprefix("data: ") for line in lines)
    assert done == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events]
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == "length"


def test_a_response_is_incomplete() -> None:
    with fake_serving(SHORT) as server, server.live.client() as client:
        answer = client.post("/v1/responses", json={"input": "a"}).json()
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][0]["content"][0]["text"]


@pytest.mark.parametrize("stream", [True, False])
def test_who_is_still_in_the_queue_gets_a_408_that_is_not_repeated(stream: bool) -> None:
    with (
        fake_serving(LONG, num_sequences=1) as server,
        connected(server.live.port) as running,
        server.live.client() as client,
    ):
        running.post("/v1/completions", {"prompt": "a", "max_tokens": -1, "stream": True})
        server.watch.wait("submitted")
        server.live.state.settings = SHORT
        body = {"prompt": "b", "max_tokens": 1, "stream": stream}
        answer = client.post("/v1/completions", json=body)
        server.watch.wait("aborted")
    if stream:
        error, done, _ = answer.text.split("\n\n")
        assert done == "data: [DONE]"
        told = json.loads(error.removeprefix("data: "))["error"]
    else:
        assert answer.status_code == 408
        assert answer.headers["x-should-retry"] == "false"
        told = answer.json()["error"]
    assert told["code"] == "request_timeout"
    assert told["message"].endswith("--request-timeout.")


def test_a_load_that_takes_longer_is_a_408_and_goes_on() -> None:
    with fake_serving(SHORT, may_load=False) as server, server.live.client() as client:
        answer = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
        assert (answer.status_code, answer.json()["error"]["code"]) == (408, "request_timeout")
        server.instance.may_load.set()
        assert server.live.loaded.wait(30)
        answer = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
        assert answer.status_code == 200


def test_choices_that_have_nothing_end_beside_those_that_have() -> None:
    body = {"prompt": ["a", "b"], "max_tokens": -1}
    with fake_serving(SHORT, num_sequences=1) as server, server.live.client() as client:
        choices = client.post("/v1/completions", json=body).json()["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["length", "length"]
    assert choices[0]["text"] and choices[1]["text"] == ""


def test_an_answer_in_time_is_not_touched() -> None:
    with fake_serving(LONG) as server, server.live.client() as client:
        body = {"prompt": "a", "max_tokens": 5}
        answer = client.post("/v1/completions", json=body).json()
    assert answer["usage"]["completion_tokens"] == 5


def test_without_a_timeout_there_is_no_deadline() -> None:
    settings = ServerSettings(request_timeout=Duration(0))
    with fake_serving(settings) as server, server.live.client() as client:
        body = {"prompt": "a", "max_tokens": 5}
        answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200
