from __future__ import annotations

import asyncio

from fake_server import fake_serving

from llmd.core.message import Message
from llmd.core.request import ChatPrompt, GenerateRequest, Prompt, TextPrompt
from llmd.registry.registry import ModelRegistry
from llmd.serving.counting import count_prompt_tokens


def count(*prompts: Prompt, num_cells: int = 1000) -> int:
    """Of a model whose tokens are bytes."""
    with fake_serving(num_cells=num_cells) as server:
        registry = ModelRegistry([server.instance])
        request = GenerateRequest(model=None, prompts=prompts)
        return asyncio.run(count_prompt_tokens(registry, request))


def test_a_text_is_counted_as_it_is() -> None:
    assert count(TextPrompt(text="hello")) == 5


def test_a_chat_is_counted_as_its_template_writes_it() -> None:
    chat = ChatPrompt(messages=(Message(role="user", content="hello"),))
    assert count(chat) == len("[user]hello>")


def test_several_prompts_add_up() -> None:
    assert count(TextPrompt(text="hello"), TextPrompt(text="you")) == 8


def test_what_is_too_long_is_counted_too() -> None:
    assert count(TextPrompt(text="x" * 100), num_cells=64) == 100
