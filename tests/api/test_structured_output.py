"""Answers that are held to a form: enforced, or refused before any byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from live import LiveServer

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
PAINT = {
    "type": "function",
    "function": {
        "name": "paint",
        "description": "Paint the house.",
        "parameters": {
            "type": "object",
            "properties": {
                "color": {"enum": ["red", "blue"]},
                "coats": {"type": "integer", "minimum": 1, "maximum": 3},
            },
            "required": ["color", "coats"],
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
UNENFORCEABLE = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


@pytest.fixture(scope="module")
def client(bundled_server: LiveServer) -> Iterator[httpx.Client]:
    with bundled_server.client() as client:
        yield client


def body(text: str = "Hello!", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 1, "seed": 7, **fields}


def ask(client: httpx.Client, text: str = "Hello!", **fields: Any) -> list[dict[str, Any]]:
    """The choices."""
    answer = client.post("/v1/chat/completions", json=body(text, **fields))
    assert answer.status_code == 200, answer.text
    choices: list[dict[str, Any]] = answer.json()["choices"]
    return choices


def refusal(client: httpx.Client, path: str = "/v1/chat/completions", **fields: Any) -> Any:
    request = body(**fields) if "chat" in path else {"prompt": "Hello!", **fields}
    answer = client.post(path, json=request)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def schema_format(schema: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, **fields}}


def calls_of(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    functions = [call["function"] for call in choice["message"].get("tool_calls", [])]
    return [(each["name"], json.loads(each["arguments"])) for each in functions]


@pytest.mark.parametrize("seed", range(4))
def test_a_schema_is_kept_at_any_seed(client: httpx.Client, seed: int) -> None:
    for choice in ask(client, response_format=schema_format(PERSON), seed=seed, n=2):
        assert choice["finish_reason"] == "stop"
        jsonschema.validate(json.loads(choice["message"]["content"]), PERSON)


@pytest.mark.parametrize("thinking", [True, False])
def test_a_schema_holds_the_answer_and_not_the_thought(
    client: httpx.Client, thinking: bool
) -> None:
    fields: dict[str, Any] = {"enable_thinking": thinking, "response_format": schema_format(PERSON)}
    (choice,) = ask(client, "Repeat the word table.", temperature=0, **fields)
    jsonschema.validate(json.loads(choice["message"]["content"]), PERSON)
    thought = choice["message"].get("reasoning_content", "")
    assert bool(thought) is thinking
    assert not thought.startswith("{")


def test_a_stream_is_held_to_it_too(client: httpx.Client) -> None:
    request = body(response_format=schema_format(PERSON), stream=True)
    lines = client.post("/v1/chat/completions", json=request).text.split("\n\n")[:-2]
    deltas = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in lines]
    jsonschema.validate(json.loads("".join(d.get("content", "") for d in deltas)), PERSON)


def test_json_object(client: httpx.Client) -> None:
    (choice,) = ask(client, response_format={"type": "json_object"}, max_tokens=200)
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)
    assert choice["message"]["content"].lstrip().startswith("{")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_grammar_of_llama_cpp(client: httpx.Client, path: str) -> None:
    fields: dict[str, Any] = {"grammar": 'root ::= [0-9]{3} "-" ("red" | "blue")', "max_tokens": 40}
    request = body(**fields) if "chat" in path else {"prompt": "Hello!", **fields}
    (choice,) = client.post(path, json=request).json()["choices"]
    text = choice["message"]["content"] if "chat" in path else choice["text"]
    assert re.fullmatch(r"[0-9]{3}-(red|blue)", text)
    assert choice["finish_reason"] == "stop"


def test_a_text_completion_with_a_schema(client: httpx.Client) -> None:
    request = {"prompt": "Hello!", "json_schema": PERSON, "max_tokens": 200}
    (choice,) = client.post("/v1/completions", json=request).json()["choices"]
    jsonschema.validate(json.loads(choice["text"]), PERSON)


@pytest.mark.parametrize("seed", range(3))
def test_required_brings_a_valid_call(client: httpx.Client, seed: int) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER, PAINT], "tool_choice": "required", "seed": seed}
    (choice,) = ask(client, "Thank you!", **fields)
    assert choice["finish_reason"] == "tool_calls"
    for name, arguments in calls_of(choice):
        tool = {"get_weather": WEATHER, "paint": PAINT}[name]
        jsonschema.validate(arguments, tool["function"]["parameters"])  # type: ignore[index]
    assert calls_of(choice)


def test_a_named_tool_is_the_one_that_is_called(client: httpx.Client) -> None:
    choice_of = {"type": "function", "function": {"name": "paint"}}
    fields: dict[str, Any] = {"tools": [WEATHER, PAINT], "tool_choice": choice_of}
    ((name, arguments),) = calls_of(ask(client, "What is the weather in Oslo?", **fields)[0])
    assert name == "paint"
    jsonschema.validate(arguments, PAINT["function"]["parameters"])  # type: ignore[index]


def test_none_calls_nothing(client: httpx.Client) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "none", "temperature": 0}
    (choice,) = ask(client, "What is the weather in Oslo?", **fields)
    assert "tool_calls" not in choice["message"]


def test_without_parallel_calls_there_is_one(client: httpx.Client) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required"}
    fields["parallel_tool_calls"] = False
    choices = ask(client, "What is the weather in Oslo?", n=4, **fields)
    assert [len(calls_of(choice)) for choice in choices] == [1] * 4


@pytest.mark.parametrize(
    ("fields", "param", "pointer"),
    [
        (
            {"response_format": schema_format(UNENFORCEABLE)},
            "response_format.json_schema.schema",
            "#/uniqueItems",
        ),
        ({"json_schema": UNENFORCEABLE}, "json_schema", "#/uniqueItems"),
        ({"grammar": "root ::= nothing"}, "grammar", "nothing"),
        (
            {"tools": [{"type": "function", "function": {
                "name": "f", "strict": True, "parameters": {
                    "type": "object", "properties": {"a": UNENFORCEABLE}}}}]},
            "tools.0.function.parameters",
            "#/properties/a/uniqueItems",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_enforced_is_refused_before_any_byte(
    client: httpx.Client, fields: dict[str, Any], param: str, pointer: str, stream: bool
) -> None:
    error = refusal(client, **fields, stream=stream)
    assert error["param"] == param
    assert pointer in error["message"]


def test_a_text_completion_is_refused_alike(client: httpx.Client) -> None:
    assert refusal(client, "/v1/completions", json_schema=UNENFORCEABLE)["param"] == "json_schema"


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_left_out_of_a_loose_schema_is_told(client: httpx.Client, stream: bool) -> None:
    wanted = schema_format(UNENFORCEABLE, strict=False)
    request = body(response_format=wanted, stream=stream, max_tokens=60)
    answer = client.post("/v1/chat/completions", json=request)
    assert answer.status_code == 200
    told = answer.headers["x-llmd-loosened"]
    assert told == "response_format.json_schema.schema#/uniqueItems"


def test_a_tool_that_is_not_strict_is_loosened_and_told(client: httpx.Client) -> None:
    function = {
        "name": "f",
        "parameters": {"type": "object", "properties": {"a": UNENFORCEABLE}},
    }
    request = body(tools=[{"type": "function", "function": function}], max_tokens=1)
    answer = client.post("/v1/chat/completions", json=request)
    assert answer.headers["x-llmd-loosened"] == (
        "tools.0.function.parameters#/properties/a/uniqueItems"
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_grammar_without_any_text_is_the_clients_fault(
    client: httpx.Client, stream: bool
) -> None:
    # The thought before it is free, so this shows only when the answer begins.
    grammar = "root ::= root"
    answer = client.post("/v1/chat/completions", json=body(grammar=grammar, stream=stream))
    assert answer.status_code == (200 if stream else 400)
    event = answer.text.split("data: ")[-2] if stream else answer.text
    error = json.loads(event)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
    assert error["message"].endswith("Correct or simplify that.")


def test_an_answer_begun_by_the_client_cannot_be_held_to_a_form(client: httpx.Client) -> None:
    messages = [*body()["messages"], {"role": "assistant", "content": "{"}]
    error = refusal(client, messages=messages, response_format={"type": "json_object"})
    assert error["param"] == "messages"
