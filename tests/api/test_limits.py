"""How much one request may bring: what is beyond is a 400 that names the field and the setting."""

from __future__ import annotations

from typing import Any

import pytest
from api.raw_client import connected
from fake_server import fake_serving

from llmd.api.limits import check_limits
from llmd.config.settings import ServerSettings
from llmd.errors import LimitExceeded

SMALL: dict[str, Any] = {
    "max_messages": 3, "max_tools": 2, "max_schema_bytes": 400, "max_schema_depth": 10,
    "max_stop_strings": 2, "max_logit_biases": 2,
}  # fmt: skip
MESSAGE = {"role": "user", "content": "a"}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def tool(**parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


@pytest.mark.parametrize(
    ("body", "param", "option"),
    [
        ({"messages": [MESSAGE] * 4}, "messages", "--max-messages"),
        ({"input": [MESSAGE] * 4}, "input", "--max-messages"),
        ({"tools": [tool()] * 3}, "tools", "--max-tools"),
        ({"functions": [{"name": "f"}] * 3}, "functions", "--max-tools"),
        ({"stop": ["a", "b", "c"]}, "stop", "--max-stop-strings"),
        ({"stop_sequences": ["a", "b", "c"]}, "stop_sequences", "--max-stop-strings"),
        ({"logit_bias": {"1": 1, "2": 1, "3": 1}}, "logit_bias", "--max-logit-biases"),
        ({"logit_bias": [[1, 1], [2, 1], [3, 1]]}, "logit_bias", "--max-logit-biases"),
        ({"tools": [tool(), tool(description="x" * 400)]}, "tools.1", "--max-schema-bytes"),
        ({"tools": [tool(**nested(9))]}, "tools.0", "--max-schema-depth"),
        ({"response_format": nested(11)}, "response_format", "--max-schema-depth"),
        ({"json_schema": {"const": "x" * 400}}, "json_schema", "--max-schema-bytes"),
        ({"text": {"format": nested(10)}}, "text", "--max-schema-depth"),
        ({"grammar": "x" * 400}, "grammar", "--max-schema-bytes"),
        ({"chat_template_kwargs": {"a": "x" * 400}}, "chat_template_kwargs", "--max-schema-bytes"),
        ({"chat_template_kwargs": {"a": [[]] * 200}}, "chat_template_kwargs", "--max-schema-bytes"),
    ],
)
def test_too_much_is_refused_with_its_field_and_its_setting(
    body: dict[str, Any], param: str, option: str
) -> None:
    with pytest.raises(LimitExceeded) as refused:
        check_limits(body, ServerSettings(**SMALL))
    assert refused.value.param == param
    assert refused.value.message.endswith(f"a larger {option}.")
    assert (refused.value.status, refused.value.code) == (400, "limit_exceeded")


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [MESSAGE] * 3, "tools": [tool()] * 2, "stop": ["a", "b"]},
        {"stop": "a long stop string"},
        {"input": list(range(1000))},
        {"input": ["text"] * 1000},
        {"text": "x" * 1000},
        {"response_format": nested(10)},
        {"messages": None, "tools": None, "logit_bias": None, "grammar": None, "text": None},
        {"messages": "of a wrong type", "tools": 3, "functions": {"a": 1}},
    ],
)
def test_what_is_within_or_is_none_of_these_passes(body: dict[str, Any]) -> None:
    check_limits(body, ServerSettings(**SMALL))


def test_what_agents_send_passes_by_default() -> None:
    properties = {f"argument_{n}": {"type": "string", "description": "x" * 60} for n in range(1000)}
    body = {
        "messages": [MESSAGE] * 2000,
        "tools": [tool(type="object", properties=properties)] * 128,
        "stop": [f"\n{name}:" for name in range(64)],
        "logit_bias": {str(token): -100 for token in range(30_000)},
        "response_format": {"type": "json_schema", "json_schema": {"schema": nested(100)}},
    }
    check_limits(body, ServerSettings())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/apply-template"])
def test_every_route_has_them(path: str) -> None:
    with fake_serving(ServerSettings(**SMALL)) as server, server.live.client() as client:
        body = {"messages": [MESSAGE], "input": "a", "tools": [tool()] * 3, "max_tokens": 1}
        answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "limit_exceeded"


def test_a_body_that_says_that_it_is_too_large_is_not_read() -> None:
    settings = ServerSettings(max_body_bytes=2000)
    with fake_serving(settings) as server, connected(server.live.port) as client:
        head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2001\r\n\r\n"
        client.send(head.encode())
        assert client.read_head()[0] == 413


@pytest.mark.parametrize(("asked", "expected"), [(None, 4), (100, 4), (2, 2), (-1, 4)])
def test_no_answer_is_longer_than_any_may_be(asked: int | None, expected: int) -> None:
    settings = ServerSettings(max_output_tokens=4)
    body = {"prompt": "a"} if asked is None else {"prompt": "a", "n_predict": asked}
    with fake_serving(settings) as server, server.live.client() as client:
        answer = client.post("/completion", json=body).json()
        chat = client.post("/v1/chat/completions", json={"messages": [MESSAGE]}).json()
    assert answer["tokens_predicted"] == expected
    assert answer["stop_type"] == "limit"
    assert chat["choices"][0]["finish_reason"] == "length"
    assert chat["usage"]["completion_tokens"] == 4
