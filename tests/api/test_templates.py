"""Chat requests through real templates: tools, thoughts, faults, prefill, special tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import EXACT_SETTINGS
from live import LiveServer, serving
from zoo.llama import write_llama, write_scripted_llama
from zoo.template import CHATML_TOOLS

from llmd.registry.instance import ModelInstance

pytestmark = pytest.mark.gguf

# As the grammar forces it, up to where there is a choice: the script goes on from there.
CALL = ["<tool_call>", '\n{"name": "look", "arguments": {', '"at": "caf\u00e9"}}\n', "</tool_call>"]
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "look there"}], "temperature": 0}

MOODY = (
    "{% for m in messages %}"
    "{% if m.role == 'oracle' %}{{ raise_exception('no oracles here') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}"
)


@contextmanager
def served(path: Path) -> Iterator[tuple[LiveServer, httpx.Client]]:
    with (
        serving(lambda: ModelInstance("tiny", path, EXACT_SETTINGS)) as server,
        server.client() as client,
    ):
        yield server, client


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A model that answers everything with one tool call."""
    path = tmp_path_factory.mktemp("script") / "script.gguf"
    write_scripted_llama(path, CALL, chat_template=CHATML_TOOLS)
    with served(path) as (_, client):
        yield client


@pytest.fixture(scope="module")
def count(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """How many tokens the prompt of a request has."""
    path = write_llama(tmp_path_factory.mktemp("tools") / "model.gguf", chat_template=CHATML_TOOLS)
    with served(path) as (_, client):

        def num_tokens(**fields: Any) -> int:
            answer = client.post("/v1/chat/completions", json={**ASK, "max_tokens": 1, **fields})
            assert answer.status_code == 200, answer.text
            return int(answer.json()["usage"]["prompt_tokens"])

        yield num_tokens


def streamed(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    text = client.post("/v1/chat/completions", json={**ASK, **fields, "stream": True}).text
    lines = text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_a_tool_call_arrives_as_a_call(caller: httpx.Client) -> None:
    answer = caller.post("/v1/chat/completions", json={**ASK, "tools": [TOOL]}).json()
    (choice,) = answer["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert call.pop("id").startswith("call_")
    assert json.loads(call["function"].pop("arguments")) == {"at": "caf\u00e9"}
    assert call == {"type": "function", "function": {"name": "look"}}
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"


def test_a_streamed_tool_call_is_the_same(caller: httpx.Client) -> None:
    chunks = streamed(caller, tools=[TOOL])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    first, *others = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert first.keys() == {"index", "id", "type", "function"}
    assert first["function"] == {"name": "look", "arguments": ""}
    assert all(other.keys() == {"index", "function"} for other in others)
    assert {other["index"] for other in (first, *others)} == {0}
    arguments = "".join(other["function"]["arguments"] for other in others)
    assert json.loads(arguments) == {"at": "caf\u00e9"}
    assert not any(delta.get("content") for delta in deltas)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_without_tools_a_call_is_text(caller: httpx.Client) -> None:
    (choice,) = caller.post("/v1/chat/completions", json=ASK).json()["choices"]
    assert choice["message"]["content"] == "".join(CALL)
    assert choice["finish_reason"] == "stop"


def test_a_call_that_is_cut_off_ends_for_its_length(caller: httpx.Client) -> None:
    body = {**ASK, "tools": [TOOL], "max_tokens": 2}
    (choice,) = caller.post("/v1/chat/completions", json=body).json()["choices"]
    assert choice["finish_reason"] == "length"


def test_a_stop_string_may_be_a_marker(caller: httpx.Client) -> None:
    answer = caller.post("/v1/chat/completions", json={**ASK, "stop": "</tool_call>"}).json()
    assert answer["choices"][0]["message"]["content"] == "".join(CALL[:3])


def test_tools_are_written_into_the_prompt(count: Callable[..., int]) -> None:
    plain = count()
    assert count(tools=[TOOL]) > plain + 20
    assert count(tools=[TOOL, {**TOOL, "function": {"name": "see"}}]) > count(tools=[TOOL])
    assert count(tools=[TOOL], tool_choice="none") == count(tools=[]) == plain


def test_earlier_calls_and_their_results_are_written_too(count: Callable[..., int]) -> None:
    call = {"id": "call_1", "type": "function",
            "function": {"name": "look", "arguments": '{"at": "sky"}'}}  # fmt: skip
    messages = [
        *ASK["messages"],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "blue"},
    ]
    assert count(messages=messages, tools=[TOOL]) > count(tools=[TOOL]) + 20


def test_an_old_call_with_broken_arguments_does_no_harm(count: Callable[..., int]) -> None:
    call = {"function": {"name": "look", "arguments": '{"at": '}}
    messages = [*ASK["messages"], {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "content": "what?"}]  # fmt: skip
    assert count(messages=messages) > 0


def test_template_kwargs_reach_the_template(count: Callable[..., int]) -> None:
    off = count(chat_template_kwargs={"enable_thinking": False})
    assert off > count() == count(chat_template_kwargs={"enable_thinking": True})
    assert count(reasoning_effort="none") == off


def test_a_users_special_token_is_only_text(count: Callable[..., int]) -> None:
    def tokens(text: str) -> int:
        return count(messages=[{"role": "user", "content": text}])

    assert tokens("a<|im_end|>b") - tokens("ab") > 5, "it became a token"


@pytest.mark.parametrize("stream", [True, False])
def test_a_template_that_refuses_is_a_400_with_its_words(tmp_path: Path, stream: bool) -> None:
    path = write_llama(tmp_path / "model.gguf", chat_template=MOODY)
    with served(path) as (_, client):
        messages = [*ASK["messages"], {"role": "oracle", "content": "hm"}]
        body = {"messages": messages, "stream": stream}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["code"] == "chat_template_error"
        assert "no oracles here" in error["message"]
        assert error["param"] is not None and error["param"].startswith("messages")


def test_what_the_normaliser_changes_is_told_in_a_header(tmp_path: Path) -> None:
    alternating = (
        "{% for m in messages %}"
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    path = write_llama(tmp_path / "model.gguf", chat_template=alternating)
    with served(path) as (_, client):
        twice = {"messages": [*ASK["messages"], *ASK["messages"]], "max_tokens": 1}
        once = {**ASK, "max_tokens": 1}
        changed = client.post("/v1/chat/completions", json=twice)
        plain = client.post("/v1/chat/completions", json=once)
    assert changed.status_code == plain.status_code == 200
    assert changed.headers["x-llmd-normalized"]
    assert "x-llmd-normalized" not in plain.headers


def test_a_prompt_beyond_the_context_names_messages(count: Callable[..., int]) -> None:
    with pytest.raises(AssertionError, match=r"context_length_exceeded.*\"param\":\"messages\""):
        count(messages=[{"role": "user", "content": "water " * 600}])
