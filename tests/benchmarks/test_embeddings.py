from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from connection import Address
from embeddings import Result, Work, agreement, format_comparison, measure
from live import serving
from zoo.bert import write_bert

from llmd.config.settings import ModelSettings
from llmd.registry.instance import ModelInstance

pytestmark = pytest.mark.gguf

WORK = Work(num_inputs=8, num_clients=2, num_requests=2, min_words=1, max_words=6)


def result(seconds: float, *vectors: list[float]) -> Result:
    return Result(10, 100, seconds, seconds * 2, 50.0, vectors)


def test_every_client_gets_texts_of_its_own_again_and_again() -> None:
    assert WORK.texts(1) == WORK.texts(1) != WORK.texts(2)
    lengths = {len(text.split()) for text in WORK.texts(1)}
    assert lengths <= set(range(1, 7))


def test_a_server_is_measured(tmp_path: Path) -> None:
    path = write_bert(tmp_path / "bert.gguf")
    with serving(lambda: ModelInstance("bert", path, ModelSettings(threads=1))) as live:
        address = Address("127.0.0.1", live.port, "")
        found = asyncio.run(measure(address, WORK, seed=0, pid=1))
    assert found.num_inputs == 32
    assert found.num_tokens > 32
    assert found.inputs_per_second > 0
    assert len(found.vectors) == 8
    assert agreement(found, found) == pytest.approx(1)


def test_ratios_are_to_the_first_server() -> None:
    results = {"a": [result(2.0, [1.0, 0.0])], "b": [result(1.0, [1.0, 1.0])]}
    table = format_comparison(results)
    lines = [line.split() for line in table.splitlines()]
    assert ["inputs/s", "2.0000", "2.0000"] in lines
    assert ["server", "CPU", "0.5000", "0.5000"] in lines
    assert ["agreement", "0.7071", "0.7071"] in lines
