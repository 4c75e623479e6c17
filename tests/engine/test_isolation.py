"""Sixteen conversations at once, some of which break off: nobody hears of another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from conftest import EXACT_SETTINGS
from live import LiveServer, serving

from llmd.config.byte_size import ByteSize
from llmd.registry.instance import ModelInstance

pytestmark = pytest.mark.gguf

NUM_CLIENTS = 16
NONCES = tuple(f"{random.Random(index).getrandbits(32):08x}" for index in range(NUM_CLIENTS))
BUNDLED = Path(str(files("llmd"))) / "tiny" / "tiny.gguf"

Cancels = dict[int, int]
"""Which client goes away after how many events."""


@pytest.fixture(scope="module")
def server(llama_path: Path) -> Iterator[LiveServer]:
    """With so few cells that sequences wait and are set back."""
    settings = EXACT_SETTINGS.model_copy(update={"parallel": 6, "kv_tokens": 512, "ctx_size": 256})
    with serving(lambda: ModelInstance("tiny-llama", llama_path, settings)) as server:
        yield server


def body(index: int) -> dict[str, Any]:
    """With `echo` the answer must hold its own nonce."""
    prompt = f"remember {NONCES[index]} " * (1 + index % 3)
    return {
        "prompt": prompt, "echo": True, "stream": True, "temperature": 0, "max_tokens": 100,
    }  # fmt: skip


async def ask(client: httpx.AsyncClient, index: int, leave_after: int | None) -> str:
    """The text, or as much of it as came before the client left."""
    text, num_events = "", 0
    async with client.stream("POST", "/v1/completions", json=body(index)) as response:
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            text += orjson.loads(line.removeprefix("data: "))["choices"][0]["text"]
            num_events += 1
            if num_events == leave_after:
                break
    return text


def ask_all(server: LiveServer, cancels: Cancels, *, at_once: int = NUM_CLIENTS) -> list[str]:
    async def main() -> list[str]:
        gate = asyncio.Semaphore(at_once)
        limits = httpx.Limits(max_connections=NUM_CLIENTS)
        async with httpx.AsyncClient(
            base_url=server.url, limits=limits, timeout=60, trust_env=False
        ) as client:

            async def one(index: int) -> str:
                async with gate:
                    return await ask(client, index, cancels.get(index))

            return await asyncio.gather(*map(one, range(NUM_CLIENTS)))

    return asyncio.run(main())


def assert_nobody_else_is_heard(texts: list[str]) -> None:
    for index, text in enumerate(texts):
        assert NONCES[index] in text
        assert not [nonce for nonce in NONCES if nonce != NONCES[index] and nonce in text]


@pytest.fixture(scope="module")
def alone(server: LiveServer) -> list[str]:
    return ask_all(server, {}, at_once=1)


def test_texts_are_those_of_each_client_alone(server: LiveServer, alone: list[str]) -> None:
    texts = ask_all(server, {})
    assert texts == alone
    assert_nobody_else_is_heard(texts)


@pytest.mark.parametrize("seed", range(3))
def test_cancels_change_no_neighbours_text(seed: int, server: LiveServer, alone: list[str]) -> None:
    draw = random.Random(seed)
    leavers = draw.sample(range(NUM_CLIENTS), 7)
    texts = ask_all(server, {index: draw.randint(1, 40) for index in leavers})
    assert_nobody_else_is_heard(texts)
    for index, text in enumerate(texts):
        if index in leavers:
            assert alone[index].startswith(text)
        else:
            assert text == alone[index]


def test_sequences_were_set_back_on_the_way(server: LiveServer) -> None:
    ask_all(server, {})
    stats = server.instance.client.stats
    assert stats is not None and stats.num_set_back > 0


@pytest.mark.skipif(not BUNDLED.is_file(), reason="the bundled model is not made yet")
def test_the_bundled_model_mixes_nobody_up() -> None:
    settings = EXACT_SETTINGS.model_copy(update={"kv_tokens": 2048})
    with serving(lambda: ModelInstance("tiny", BUNDLED, settings)) as server:
        assert_nobody_else_is_heard(ask_all(server, {3: 5, 8: 20, 11: 1}))


NAMES = ("Alice", "Robert", "Carol", "David", "Emma", "Frank", "Grace", "Henry")


def chat(text: str, **fields: Any) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": text},
    ]
    return {"messages": messages, "temperature": 0, "max_tokens": 40, **fields}


async def tell_and_ask(client: httpx.AsyncClient, index: int, draw: random.Random) -> str:
    """One key's conversation; sometimes it breaks off on the way and is asked again."""
    headers = {"authorization": f"Bearer key-{index}"}
    body = chat(f"My name is {NAMES[index]}.")
    first = await client.post("/v1/chat/completions", json=body, headers=headers)
    body["messages"].append(first.json()["choices"][0]["message"])
    body["messages"].append({"role": "user", "content": "What is my name?"})
    if draw.random() < 0.5:
        async with client.stream(
            "POST", "/v1/chat/completions", json=body | {"stream": True}, headers=headers
        ) as response:
            async for _ in response.aiter_lines():
                break
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    text = answer.json()["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


@pytest.mark.skipif(not BUNDLED.is_file(), reason="the bundled model is not made yet")
def test_names_stay_with_their_key_while_prefixes_are_parked_and_brought_back() -> None:
    settings = EXACT_SETTINGS.model_copy(
        update={"kv_tokens": 1024, "ctx_size": 512, "parallel": 4, "cache_ram": ByteSize(400_000)}
    )

    async def main(url: str) -> list[list[str]]:
        limits = httpx.Limits(max_connections=len(NAMES))
        async with httpx.AsyncClient(
            base_url=url, limits=limits, timeout=60, trust_env=False
        ) as client:
            rounds = []
            for seed in range(3):
                draw = random.Random(seed)
                talks = [tell_and_ask(client, index, draw) for index in range(len(NAMES))]
                rounds.append(list(await asyncio.gather(*talks)))
            return rounds

    with serving(lambda: ModelInstance("tiny", BUNDLED, settings)) as server:
        rounds = asyncio.run(main(server.url))
        stats = server.instance.client.stats
    assert rounds[0] == rounds[1] == rounds[2]
    for index, text in enumerate(rounds[0]):
        assert not [name for name in NAMES if name != NAMES[index] and name in text]
    assert sum(name in text for name, text in zip(NAMES, rounds[0], strict=True)) >= 6
    assert stats is not None and stats.num_cached_tokens > 0 and stats.num_parked_bytes > 0
