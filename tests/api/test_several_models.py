"""openai-python against several models at once, on real engines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import EXACT_SETTINGS
from live import LiveServer, serving_all
from openai import AsyncOpenAI, NotFoundError, OpenAI
from zoo.bert import write_bert

from llmd.config.settings import ServerSettings
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry

pytestmark = pytest.mark.gguf


@pytest.fixture(scope="module")
def live(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    bert = write_bert(tmp_path_factory.mktemp("several") / "bert.gguf")
    files = {"llama": zoo["llama"], "org/bytes": zoo["bytes"], "embed": bert}

    def make() -> ModelRegistry:
        return ModelRegistry(
            [ModelInstance(name, path, EXACT_SETTINGS) for name, path in files.items()]
        )

    with serving_all(make, ServerSettings()) as server:
        yield server


def ask(model: str, number: int) -> dict[str, Any]:
    return {"model": model, "prompt": f"the water {number}", "max_tokens": 40, "temperature": 0}


def test_models_answer_at_once_each_as_it_does_alone(live: LiveServer) -> None:
    async def stream(client: AsyncOpenAI, model: str, number: int) -> str:
        chunks = await client.completions.create(**ask(model, number), stream=True)
        return "".join([chunk.choices[0].text async for chunk in chunks])

    async def main() -> list[str]:
        async with AsyncOpenAI(base_url=f"{live.url}/v1", api_key="none") as client:
            texts = (stream(client, model, number) for model in models for number in range(4))
            found, embedded = await asyncio.gather(
                asyncio.gather(*texts),
                client.embeddings.create(model="embed", input=["a", "b"]),
            )
            assert embedded.model == "embed" and len(embedded.data) == 2
            return found

    models = ("llama", "org/bytes")
    together = asyncio.run(main())
    with OpenAI(base_url=f"{live.url}/v1", api_key="none") as client:
        alone = [
            client.completions.create(**ask(model, number)).choices[0].text
            for model in models
            for number in range(4)
        ]
    assert together == alone
    assert together[:4] != together[4:]
    assert not any(each.usage and each.usage.is_busy for each in live.registry.list())


def test_an_unknown_name_is_a_404_that_names_those_that_are_served(live: LiveServer) -> None:
    with OpenAI(base_url=f"{live.url}/v1", api_key="none") as client:
        with pytest.raises(NotFoundError, match="llama, org/bytes, embed"):
            client.completions.create(model="gpt-4o", prompt="a")
        assert [model.id for model in client.models.list()] == ["llama", "org/bytes", "embed"]
        assert client.models.retrieve("org/bytes").id == "org/bytes"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "embed", "input": ["a"]}),
        ("/v1/embeddings", {"model": "embed", "input": [[999_999]]}),
        ("/v1/embeddings", {"model": "llama", "input": ["a"]}),
        ("/v1/rerank", {"model": "embed", "query": "a", "documents": ["b"]}),
        ("/v1/completions", {"model": "embed", "prompt": "a"}),
    ],
)
def test_reading_models_are_let_go_too(live: LiveServer, path: str, body: dict[str, Any]) -> None:
    with live.client() as client:
        assert client.post(path, json=body | {"keep_alive": 99}).status_code in (200, 400)
        usage = live.registry.find(body["model"]).usage
        assert usage is not None and not usage.is_busy
