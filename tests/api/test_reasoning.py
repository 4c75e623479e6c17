"""Thoughts: apart from the answer, counted, bounded, and put back where clients drop them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conftest import EXACT_SETTINGS
from live import serving
from zoo.llama import write_scripted_llama
from zoo.template import CHATML_TOOLS

from llmd.registry.instance import ModelInstance

pytestmark = pytest.mark.gguf

THOUGHT = ["\nI should", " look", " closely."]
CALL = ["<tool_call>", '\n{"name": "look", "arguments": {"at": "sky"}}\n', "</tool_call>"]
SCRIPT = ["<think>", *THOUGHT, "\n</think>\n\n", "It is", " blue.", *CALL]
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "look there"}], "temperature": 0}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A model that thinks, says something and calls a tool."""
    path = tmp_path_factory.mktemp("script") / "thinks.gguf"
    write_scripted_llama(path, SCRIPT, chat_template=CHATML_TOOLS)
    with (
        serving(lambda: ModelInstance("tiny", path, EXACT_SETTINGS)) as server,
        server.client() as client,
    ):
        yield client


def ask(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/chat/completions", json={**ASK, "tools": [TOOL], **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def message_of(body: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = body["choices"][0]["message"]
    return message


def chunks(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    body = {**ASK, "tools": [TOOL], "stream": True, **fields}
    lines = client.post("/v1/chat/completions", json=body).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_a_thought_stands_apart(client: httpx.Client) -> None:
    message = message_of(ask(client))
    assert message["reasoning_content"].strip() == "I should look closely."
    assert message["content"] == "It is blue."


def test_its_tokens_are_counted(client: httpx.Client) -> None:
    details = ask(client)["usage"]["completion_tokens_details"]
    # The closer's token holds the line's end before it, which is of the thought.
    assert details["reasoning_tokens"] == len(THOUGHT) + 1


def test_streamed_it_is_the_same(client: httpx.Client) -> None:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(client)]
    joined = {
        key: "".join(delta.get(key) or "" for delta in deltas)
        for key in ("content", "reasoning_content")
    }
    message = message_of(ask(client))
    assert joined == {key: message[key] for key in joined}


def test_thoughts_come_before_text_and_calls(client: httpx.Client) -> None:
    kinds = [
        kind
        for chunk in chunks(client)[1:]
        for kind in chunk["choices"][0]["delta"]
        if kind != "role"
    ]
    order = list(dict.fromkeys(kinds))
    assert order == ["reasoning_content", "content", "tool_calls"]


def test_reasoning_format_none_leaves_it_in_the_text(client: httpx.Client) -> None:
    message = message_of(ask(client, reasoning_format="none"))
    assert "reasoning_content" not in message
    assert message["content"] == "".join(SCRIPT[:7])


@pytest.mark.parametrize("stream", [False, True])
def test_every_token_has_its_logprob_once(client: httpx.Client, stream: bool) -> None:
    if stream:
        found = [
            entry
            for chunk in chunks(client, logprobs=True)
            for entry in (chunk["choices"][0].get("logprobs") or {}).get("content", [])
        ]
    else:
        found = ask(client, logprobs=True)["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in found][: len(SCRIPT)] == SCRIPT


def test_a_budget_closes_the_thought(client: httpx.Client) -> None:
    body = ask(client, thinking={"type": "enabled", "budget_tokens": 2}, max_tokens=12, tools=[])
    assert message_of(body)["reasoning_content"].strip() == "I should look"
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


def test_a_budget_that_is_not_used_up_changes_nothing(client: httpx.Client) -> None:
    assert message_of(ask(client, thinking_budget=50)) | {"tool_calls": 0} == message_of(
        ask(client)
    ) | {"tool_calls": 0}


def test_an_answer_that_ends_within_its_thought_has_no_text(client: httpx.Client) -> None:
    body = ask(client, max_tokens=3)
    assert message_of(body)["content"] == ""
    assert message_of(body)["reasoning_content"].strip() == "I should look"
    assert body["choices"][0]["finish_reason"] == "length"


def test_thinking_is_switched_off_in_the_prompt(client: httpx.Client) -> None:
    on, off = (
        ask(client, enable_thinking=wish)["usage"]["prompt_tokens"] for wish in (True, False)
    )
    assert off > on


def history(call: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [
        *ASK["messages"],
        {"role": "assistant", "content": "It is blue.", "tool_calls": [call], **fields},
        {"role": "tool", "tool_call_id": call["id"], "content": "indeed"},
    ]


def num_prompt(client: httpx.Client, messages: list[dict[str, Any]], **headers: str) -> int:
    body = {**ASK, "tools": [TOOL], "messages": messages, "max_tokens": 1}
    answer = client.post("/v1/chat/completions", json=body, headers=headers)
    return int(answer.json()["usage"]["prompt_tokens"])


def test_a_thought_that_a_client_dropped_is_put_back(client: httpx.Client) -> None:
    message = message_of(ask(client))
    (call,) = message["tool_calls"]
    kept = history(call, reasoning_content=message["reasoning_content"])
    unknown = history({**call, "id": "call_of_somebody_else"})
    dropped = num_prompt(client, history(call))
    assert dropped == num_prompt(client, kept) > num_prompt(client, unknown)


def test_another_key_does_not_get_it(client: httpx.Client) -> None:
    (call,) = message_of(ask(client))["tool_calls"]
    mine = num_prompt(client, history(call))
    theirs = num_prompt(client, history(call), authorization="Bearer other")
    assert theirs < mine
