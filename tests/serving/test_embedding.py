from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from zoo.bert import write_bert

from llmd.config.settings import ModelSettings
from llmd.core.embedding import EmbedRequest
from llmd.core.request import TextPrompt
from llmd.errors import EngineFailed, QueueFull
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.serving.embedding import embed

pytestmark = pytest.mark.gguf


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("embedding") / "bert.gguf")


@asynccontextmanager
async def opened(path: Path, **fields: Any) -> AsyncIterator[ModelRegistry]:
    instance = ModelInstance("bert", path, ModelSettings(threads=1, **fields))
    registry = ModelRegistry([instance])
    await instance.load()
    try:
        yield registry
    finally:
        await registry.close()


def request(num_inputs: int, text: str = "hot", **fields: Any) -> EmbedRequest:
    return EmbedRequest(model=None, inputs=(TextPrompt(text=text),) * num_inputs, **fields)


def test_a_cancelled_call_is_forgotten_by_the_engine(path: Path) -> None:
    async def work() -> None:
        async with opened(path) as registry:
            client = registry.list()[0].client
            leaver = asyncio.ensure_future(embed(registry, request(4000)))
            await asyncio.sleep(0)
            assert client.num_unfinished == 1
            leaver.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaver
            assert client.num_unfinished == 0
            embeddings = await embed(registry, request(1))
            assert embeddings.num_tokens == 3
            assert client.stats is not None
            assert client.stats.num_waiting == 0
            assert client.stats.num_prompt_tokens < 4000 * 3

    asyncio.run(work())


def test_calls_beyond_the_queue_are_refused_whatever_their_size(path: Path) -> None:
    async def work() -> None:
        async with opened(path, max_queue=0, parallel=2) as registry:
            running = [asyncio.ensure_future(embed(registry, request(500))) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFull):
                await embed(registry, request(1))
            assert [len(found.vectors) for found in await asyncio.gather(*running)] == [500, 500]

    asyncio.run(work())


def test_a_daemon_that_ends_says_so(path: Path) -> None:
    async def work() -> None:
        async with opened(path) as registry:
            running = asyncio.ensure_future(embed(registry, request(4000)))
            await asyncio.sleep(0)
            await registry.close()
            with pytest.raises(EngineFailed):
                await running

    asyncio.run(work())


def test_many_characters_are_tokenized_all_the_same(path: Path) -> None:
    async def work() -> None:
        async with opened(path) as registry:
            found = await embed(registry, request(10, "water " * 1000, truncate=True))
            assert found.num_tokens == 10 * 512

    asyncio.run(work())
