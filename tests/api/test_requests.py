"""What a request may be, and what is said to one that may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from api.raw_client import connected
from fake_server import FakeServer, fake_serving, says

from llmd.api.openai.schema_chat import ChatCompletionRequest
from llmd.api.openai.schema_completions import CompletionRequest
from llmd.config.settings import ServerSettings

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_serving(ServerSettings(max_body_bytes=50_000)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: FakeServer) -> Iterator[httpx.Client]:
    with server.live.client() as client:
        yield client


def chat(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/v1/chat/completions", json={**HELLO, **fields})


def refused(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error body, whose form every client relies on."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error: dict[str, Any] = response.json()["error"]
    assert list(response.json()) == ["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    assert isinstance(error["code"], str)
    assert error["message"].endswith(".")
    return error


@pytest.mark.parametrize("schema", [ChatCompletionRequest, CompletionRequest])
def test_an_explicit_null_is_the_same_as_nothing(client: httpx.Client, schema: Any) -> None:
    path, body = (
        ("/v1/chat/completions", dict(HELLO))
        if schema is ChatCompletionRequest
        else ("/v1/completions", {"prompt": "hello", "max_tokens": 4})
    )
    nulls = {name: None for name in schema.model_fields if name not in body}
    assert len(nulls) > 30
    plain, with_nulls = client.post(path, json=body), client.post(path, json={**body, **nulls})
    assert with_nulls.status_code == 200, with_nulls.text
    assert with_nulls.json()["choices"] == plain.json()["choices"]


@pytest.mark.parametrize("name", ["name", "tool_calls", "tool_call_id", "reasoning_content"])
def test_a_null_inside_a_message_is_the_same_as_nothing(client: httpx.Client, name: str) -> None:
    message = {"role": "user", "content": "hello", name: None}
    assert chat(client, messages=[message]).json()["choices"] == chat(client).json()["choices"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"content": "no role"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": True}, "stream_options"),
        ({"stop": 5}, "stop"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"stop": "x" * 1025}, "stop"),
        ({"seed": "lucky"}, "seed"),
        ({"logprobs": 3}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"hello": 1}}, "logit_bias"),
        ({"logit_bias": {"5": "much"}}, "logit_bias.5"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"tools": [5]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": 5}, "response_format"),
        ({"grammar": "root ::= [a-z"}, "grammar"),
        ({"grammar": 5}, "grammar"),
        ({"json_schema": {"type": "thing"}}, "json_schema"),
        ({"reasoning_format": "xml"}, "reasoning_format"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
        ({"thinking": {"type": "sometimes"}}, "thinking.type"),
        ({"thinking": {"budget_tokens": "all"}}, "thinking.budget_tokens"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
        ({"model": 5}, "model"),
        ({"cache_prompt": "yes"}, "cache_prompt"),
        ({"cache_report": 1}, "cache_report"),
        ({"deterministic": "no"}, "deterministic"),
        ({"return_progress": 1}, "return_progress"),
        ({"priority": 101}, "priority"),
        ({"priority": -101}, "priority"),
        ({"priority": 0.5}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"priority": True}, "priority"),
    ],
)
def test_a_chat_request_at_fault_is_a_400_that_names_the_field(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    assert refused(chat(client, **fields))["param"] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [257]}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),  # a model without infill tokens
        ({"prompt": ["a"], "suffix": "b"}, "prompt"),
        ({"prompt": "a", "suffix": "b", "echo": True}, "echo"),
        ({"prompt": "a", "best_of": 1, "n": 2}, "best_of"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "echo": "please"}, "echo"),
        ({"prompt": ["a"] * 2049}, "prompt"),
        ({"prompt": "a", "cache_prompt": 0}, "cache_prompt"),
        ({"prompt": "a", "priority": 1000}, "priority"),
    ],
)
def test_a_text_request_at_fault_is_a_400_that_names_the_field(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    assert refused(client.post("/v1/completions", json=fields))["param"] == param


SCHEMAS = pytest.mark.parametrize(
    ("schema", "body"),
    [(ChatCompletionRequest, HELLO), (CompletionRequest, {"prompt": "a"})],
)


@SCHEMAS
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cache_prompt", False),
        ("cache_report", True),
        ("deterministic", True),
        ("priority", -100),
        ("priority", 100),
    ],
)
def test_how_a_request_is_handled_is_passed_on(
    schema: Any, body: dict[str, Any], field: str, value: object
) -> None:
    plain = schema.model_validate(body).to_core(tenant="somebody")
    assert (plain.cache_prompt, plain.cache_report, plain.deterministic, plain.priority) == (
        True, False, False, 0,
    )  # fmt: skip
    assert plain.tenant == "somebody"
    assert getattr(schema.model_validate({**body, field: value}).to_core(), field) == value


@SCHEMAS
@pytest.mark.parametrize("stream", [True, False])
def test_progress_is_reported_in_streams_alone(
    schema: Any, body: dict[str, Any], stream: bool
) -> None:
    request = schema.model_validate({**body, "stream": stream, "return_progress": True})
    assert request.to_core().return_progress is stream


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"5", b"\xff", b'{"messages": NaN}', b'"\\ud800"', b"[" * 5000]
)
def test_a_body_that_is_no_json_object_is_a_400(client: httpx.Client, body: bytes) -> None:
    error = refused(client.post("/v1/chat/completions", content=body))
    assert error["code"] == "invalid_request"
    assert "JSON" in error["message"]


def test_the_content_type_does_not_matter(client: httpx.Client) -> None:
    response = client.post(
        "/v1/chat/completions",
        content=json.dumps(HELLO),
        headers={"content-type": "application/octet-stream"},
    )
    assert response.status_code == 200


def test_a_body_beyond_the_limit_is_a_413(client: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "x" * 50_000}]}
    error = refused(client.post("/v1/chat/completions", json=body), 413)
    assert error["code"] == "body_too_large"
    assert "50000 bytes" in error["message"] and "max_body_bytes" in error["message"]


def test_a_body_beyond_the_limit_is_refused_before_it_is_all_sent(server: FakeServer) -> None:
    with connected(server.live.port) as client:
        client.send(
            b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999999\r\n\r\n"
        )
        client.send(b"x" * 60_000)
        assert client.read_head()[0] == 413


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat", "/api/tags", "/v1/embeddings/x"])
def test_an_unknown_route_is_a_404_that_shows_the_way(client: httpx.Client, path: str) -> None:
    error = refused(client.post(path, json={}), 404)
    assert error["code"] == "route_not_found"
    assert "/v1/chat/completions" in error["message"]


def test_a_wrong_method_is_a_405_that_names_the_right_one(client: httpx.Client) -> None:
    response = client.get("/v1/chat/completions")
    assert "POST" in refused(response, 405)["message"]
    assert response.headers["allow"] == "POST"


def test_head_is_answered_without_a_body(client: httpx.Client) -> None:
    for path in ("/v1/models", "/health"):
        response = client.head(path)
        assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/chat/completions"), ("POST", "/completions"), ("GET", "/models"),
     ("GET", "/models/fake")],
)  # fmt: skip
def test_routes_exist_without_v1_too(client: httpx.Client, method: str, path: str) -> None:
    body = {**HELLO, "prompt": "a"} if method == "POST" else None
    answers = [client.request(method, prefix + path, json=body) for prefix in ("", "/v1")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json().keys() == answers[1].json().keys()


def test_a_models_id_may_hold_slashes(client: httpx.Client) -> None:
    error = refused(client.get("/v1/models/org/model:Q4"), 404)
    assert error["code"] == "model_not_found"
    assert "org/model:Q4" in error["message"] and "fake" in error["message"]


def test_the_models_name_is_advisory_where_one_is_served(client: httpx.Client) -> None:
    answer = chat(client, model="gpt-4o").json()
    assert answer["model"] == "fake"


def test_strict_model_names_make_an_unknown_one_a_404() -> None:
    with (
        fake_serving(ServerSettings(strict_model_names=True)) as server,
        server.live.client() as client,
    ):
        error = refused(chat(client, model="gpt-4o"), 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "fake" in error["message"]
        assert chat(client, model="fake").status_code == 200


def test_unknown_fields_are_ignored(client: httpx.Client) -> None:
    answer = chat(client, store=True, metadata={"a": 1}, service_tier="auto", keep_alive="5m")
    assert answer.status_code == 200


def test_text_parts_are_joined(client: httpx.Client) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    answer = chat(client, messages=[{"role": "user", "content": parts}]).json()
    assert answer["choices"][0]["message"]["content"] == says("[user]one\ntwo>", 4)


def test_an_image_part_is_a_400_that_names_it(client: httpx.Client) -> None:
    parts = [{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": "x"}}]
    error = refused(chat(client, messages=[{"role": "user", "content": parts}]))
    assert (error["code"], error["param"]) == ("unsupported", "messages.0.content.1")


def test_a_last_assistant_message_is_continued(client: httpx.Client) -> None:
    messages = [*HELLO["messages"], {"role": "assistant", "content": "well"}]
    answer = chat(client, messages=messages).json()
    assert answer["choices"][0]["message"]["content"] == says("[user]hello[assistant]well", 4)


def test_n_predict_wins_over_max_tokens_and_minus_one_is_no_limit() -> None:
    with fake_serving(num_cells=64) as server, server.live.client() as client:
        assert chat(client, n_predict=2, max_tokens=4).json()["usage"]["completion_tokens"] == 2
        answer = chat(client, n_predict=-1).json()
    assert answer["usage"]["total_tokens"] == 64


def test_timings_count_what_was_computed(client: httpx.Client) -> None:
    timings = chat(client, cache_prompt=False).json()["timings"]
    assert (timings["cache_n"], timings["prompt_n"]) == (0, len("[user]hello>"))
    assert timings["predicted_n"] == 4
    assert timings["predicted_ms"] > 0 and timings["predicted_per_second"] > 0


def test_a_huge_number_of_requests_leaves_nothing_behind(server: FakeServer) -> None:
    with server.live.client() as client:
        for _ in range(30):
            chat(client)
    assert server.instance.engine.is_idle
    stats = server.instance.engine.stats()
    assert stats.num_free_cells + stats.num_idle_cells == server.runner.num_cells
