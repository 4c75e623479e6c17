"""POST /apply-template: the prompt of a chat, without an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live import LiveServer

pytestmark = pytest.mark.gguf

HELLO = {"role": "user", "content": "hello"}


@pytest.fixture(scope="module")
def client(llama_server: LiveServer) -> Iterator[httpx.Client]:
    with llama_server.client() as client:
        yield client


def prompt(client: httpx.Client, *messages: Any, **fields: Any) -> str:
    response = client.post("/apply-template", json={"messages": messages, **fields})
    assert response.status_code == 200, response.text
    text: str = response.json()["prompt"]
    return text


def test_it_is_what_the_template_writes(client: httpx.Client) -> None:
    assert prompt(client, HELLO) == ("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n")


def test_it_may_end_before_the_answer(client: httpx.Client) -> None:
    assert prompt(client, HELLO, add_generation_prompt=False) == (
        "<|im_start|>user\nhello<|im_end|>\n"
    )


def test_a_last_message_of_the_assistants_begins_the_answer(client: httpx.Client) -> None:
    begun = prompt(client, HELLO, {"role": "assistant", "content": "I am"})
    assert begun.endswith("<|im_start|>assistant\nI am")


def test_tools_are_in_it(client: httpx.Client) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    assert "look_up" in prompt(client, HELLO, tools=[tool])


def test_the_completion_of_it_is_the_chats_answer(client: httpx.Client) -> None:
    fields = {"max_tokens": 6, "temperature": 0}
    chat = client.post("/v1/chat/completions", json={"messages": [HELLO], **fields}).json()
    body = {"prompt": prompt(client, HELLO), "n_predict": 6, "temperature": 0}
    answer = client.post("/completion", json=body).json()
    assert answer["content"] == chat["choices"][0]["message"]["content"]
    assert answer["tokens_evaluated"] == chat["usage"]["prompt_tokens"]


def test_a_fault_is_that_of_the_chat(client: httpx.Client) -> None:
    for body, param in (({}, "messages"), ({"messages": [{"role": 5}]}, "messages.0.role")):
        response = client.post("/apply-template", json=body)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param
