"""POST /v1/responses over the bundled model: whole answers and streams of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from agent_tools import PERSON_QUESTION, WEATHER_QUESTION
from conftest import EXACT_SETTINGS
from live import LiveServer, serving
from response_events import check_response, check_stream, read_events
from zoo.llama import write_scripted_llama
from zoo.template import CHATML_TOOLS

from llmd.registry.instance import ModelInstance

pytestmark = pytest.mark.gguf

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
KINDS: dict[str, dict[str, Any]] = {
    "text": {"input": "Hello!"},
    "thought_and_call": {
        "input": WEATHER_QUESTION,
        "tools": [{"type": "web_search"}, WEATHER],
        "reasoning": {"effort": "low", "summary": "auto"},
    },
    "schema": {
        "input": PERSON_QUESTION,
        "text": {"format": {"type": "json_schema", "name": "person", "schema": PERSON}},
    },
    "cut": {"input": "Hello!", "max_output_tokens": 3},
    "cut_thought": {
        "input": WEATHER_QUESTION,
        "tools": [WEATHER],
        "reasoning": {"effort": "low"},
        "max_output_tokens": 4,
    },
    "logprobs": {
        "input": "Hello!",
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    },
    "instructions": {
        "instructions": "You are a helpful assistant.",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]}],
        "metadata": {"a": "b"},
        "user": "u",
        "store": False,
        "truncation": "auto",
    },
}


@pytest.fixture(scope="module")
def client(bundled_server: LiveServer) -> Iterator[httpx.Client]:
    with bundled_server.client() as client:
        yield client


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/responses", json={"temperature": 0, **fields})
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    check_response(response, response["status"])
    return response


def stream(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/responses", json={"temperature": 0, "stream": True, **fields})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return check_stream(answer.content)


def said(response: dict[str, Any]) -> Any:
    """The output without its ids, and without logprobs, whose last digits depend on the cache."""
    output = json.loads(json.dumps(response["output"]))
    for item in output:
        del item["id"]
        item.pop("call_id", None)
        for part in item.get("content", []):
            part.pop("logprobs", None)
    return output


def text_of(response: dict[str, Any]) -> str:
    return "".join(
        part["text"]
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_keeps_the_grammar_and_says_what_a_whole_answer_says(
    client: httpx.Client, kind: str
) -> None:
    whole, streamed = create(client, **KINDS[kind]), stream(client, **KINDS[kind])
    assert said(whole) == said(streamed)
    assert whole["status"] == streamed["status"]
    assert whole["usage"]["output_tokens"] == streamed["usage"]["output_tokens"]


def test_a_thought_and_a_call_are_items_of_their_own(client: httpx.Client) -> None:
    response = create(client, **KINDS["thought_and_call"])
    thought, call = response["output"]
    assert thought["type"] == "reasoning" and thought["content"][0]["text"]
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    assert json.loads(call["arguments"]) == {"city": "Tampico"}
    assert call["id"].startswith("fc_") and call["call_id"].startswith("call_")
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    assert [tool["name"] for tool in response["tools"]] == ["get_weather"]


@pytest.mark.parametrize("streamed", [False, True])
def test_what_a_limit_cuts_is_incomplete(client: httpx.Client, streamed: bool) -> None:
    response = (stream if streamed else create)(client, **KINDS["cut"])
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][-1]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 3


@pytest.mark.parametrize("streamed", [False, True])
def test_the_answer_is_held_to_its_schema(client: httpx.Client, streamed: bool) -> None:
    response = (stream if streamed else create)(client, **KINDS["schema"])
    jsonschema.validate(json.loads(text_of(response)), PERSON)
    assert response["text"]["format"]["strict"] is True


def test_logprobs_stand_beside_the_text(client: httpx.Client) -> None:
    (message,) = create(client, **KINDS["logprobs"])["output"]
    (part,) = message["content"]
    assert "".join(entry["token"] for entry in part["logprobs"]).startswith(part["text"])
    assert {len(entry["top_logprobs"]) for entry in part["logprobs"]} == {2}


def test_a_result_goes_back_as_an_item(client: httpx.Client) -> None:
    asked = create(client, input=WEATHER_QUESTION, tools=[WEATHER])
    (call,) = asked["output"]
    result = {
        "type": "function_call_output",
        "call_id": call["call_id"],
        "output": "17 degrees and rainy",
    }
    question = {"role": "user", "content": WEATHER_QUESTION}
    answer = create(client, input=[question, call, result], tools=[WEATHER])
    assert "17 degrees and rainy" in text_of(answer)


def test_a_required_call_is_made(client: httpx.Client) -> None:
    fields: dict[str, Any] = {
        "tools": [WEATHER],
        "tool_choice": "required",
        "reasoning": {"effort": "none"},
    }
    response = create(client, input="Hello!", **fields)
    assert [item["type"] for item in response["output"]] == ["function_call"]


def test_a_choice_of_none_hides_the_tools(client: httpx.Client) -> None:
    response = create(client, input=WEATHER_QUESTION, tools=[WEATHER], tool_choice="none")
    assert {item["type"] for item in response["output"]} == {"message"}


def test_tokens_are_counted_without_an_answer(client: httpx.Client) -> None:
    fields = {"input": WEATHER_QUESTION, "tools": [WEATHER], "instructions": "Be brief."}
    counted = client.post("/v1/responses/input_tokens", json=fields).json()
    num_tokens = create(client, **fields)["usage"]["input_tokens"]
    assert counted == {"object": "response.input_tokens", "input_tokens": num_tokens}


def test_an_overlong_input_is_counted_and_refused(client: httpx.Client) -> None:
    long = {"input": "water " * 40_000}
    num_tokens = client.post("/v1/responses/input_tokens", json=long).json()["input_tokens"]
    refused = client.post("/v1/responses", json=long)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    assert error["n_prompt_tokens"] == num_tokens


def test_truncation_drops_the_oldest_items(client: httpx.Client) -> None:
    filler = [{"role": "user", "content": "water " * 500}, {"role": "assistant", "content": "ok"}]
    items = [*filler * 60, {"role": "user", "content": "Hello!"}]
    fields: dict[str, Any] = {
        "truncation": "auto",
        "instructions": "Be brief.",
        "max_output_tokens": 16,
    }
    response = create(client, input=items, reasoning={"effort": "none"}, **fields)
    assert response["status"] in ("completed", "incomplete") and text_of(response)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [{"type": "computer_call", "id": "x"}]}, "input.0.type"),
        ({"input": [{"role": "user", "content": "a"}, "b"]}, "input.1"),
        ({"input": "x", "tools": [{**WEATHER, "parameters": {"type": "array"}}]},
         "tools.0.parameters"),
        ({"input": "x", "tools": [{"type": "mcp"}, {**WEATHER, "name": ""}]}, "tools.1.name"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "n",
                                            "schema": {"type": "nothing"}}}}, "text.format.schema"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.id"),
    ],
)  # fmt: skip
def test_a_fault_is_refused_before_any_byte(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    for streamed in (False, True):
        answer = client.post("/v1/responses", json={**fields, "stream": streamed})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param


def test_the_route_is_there_without_its_version(client: httpx.Client) -> None:
    assert client.post("/responses", json={"input": "Hello!"}).status_code == 200


THOUGHT = ["\nI should", " look", " closely."]
CALL = ["<tool_call>", '\n{"name": "look", "arguments": {"at": "sky"}}\n', "</tool_call>"]
LOOK = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A model that thinks, says something and calls a tool."""
    path = tmp_path_factory.mktemp("script") / "thinks.gguf"
    script = ["<think>", *THOUGHT, "\n</think>\n\n", "It is", " blue.", *CALL]
    write_scripted_llama(path, script, chat_template=CHATML_TOOLS)
    with (
        serving(lambda: ModelInstance("tiny", path, EXACT_SETTINGS)) as server,
        server.client() as client,
    ):
        yield client


@pytest.mark.parametrize("more", [{}, {"top_logprobs": 2}])
def test_all_kinds_of_items_come_in_order(thinker: httpx.Client, more: dict[str, Any]) -> None:
    fields = {"input": "look there", "tools": [LOOK], **more}
    streamed, whole = stream(thinker, **fields), create(thinker, **fields)
    kinds = [item["type"] for item in streamed["output"]]
    assert kinds == ["reasoning", "message", "function_call"]
    assert said(streamed) == said(whole)
    assert streamed["output"][0]["content"][0]["text"] == "I should look closely."
    assert text_of(streamed) == "It is blue."


def test_the_numbers_of_a_stream_go_up_by_one(thinker: httpx.Client) -> None:
    body = {"input": "look there", "tools": [LOOK], "temperature": 0, "stream": True}
    events = read_events(thinker.post("/v1/responses", json=body).content)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_codex_gets_its_turn(client: httpx.Client) -> None:
    streamed = stream(
        client,
        model="gpt-5-codex",
        instructions="You are a coding agent.",
        input=[
            {"type": "message", "role": "developer",
             "content": [{"type": "input_text", "text": "<permissions/>"}]},
            {"type": "message", "role": "user",
             "content": [{"type": "input_text", "text": WEATHER_QUESTION}]},
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAA"},
        ],
        tools=[
            {**WEATHER, "strict": False},
            {"type": "local_shell"},
            {"type": "web_search", "external_web_access": False},
            {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
            {"type": "namespace", "name": "mcp", "tools": []},
        ],
        tool_choice="auto",
        parallel_tool_calls=False,
        reasoning=None,
        store=False,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="0198",
        client_metadata={"a": "b"},
    )  # fmt: skip
    assert [item["type"] for item in streamed["output"]] == ["function_call"]
