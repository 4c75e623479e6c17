"""An engine that crashes, beside another one that must not notice."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from api.raw_client import connected, text_of
from exposition import Scrape
from fake_server import ENDLESS, FakeInstance, HeldRunner, says
from live import LiveServer, serving_all

from llmd.config.settings import ServerSettings
from llmd.engine.thread import MAX_CRASHES
from llmd.registry.registry import ModelRegistry

NUM_TOKENS = 300


@pytest.fixture
def live() -> Iterator[LiveServer]:
    def make() -> ModelRegistry:
        instances = [
            FakeInstance(HeldRunner(ENDLESS), num_sequences=4, error=None, name=name)
            for name in ("frail", "sound")
        ]
        for each in instances:
            each.may_load.set()
        return ModelRegistry(instances, preload=["frail", "sound"])

    with serving_all(make, ServerSettings()) as live:
        yield live


def instance(live: LiveServer, name: str) -> FakeInstance:
    found = live.registry.find(name)
    assert isinstance(found, FakeInstance)
    return found


def ask(client: httpx.Client, name: str) -> httpx.Response:
    return client.post("/v1/completions", json={"model": name, "prompt": "ab", "max_tokens": 4})


def test_its_requests_fail_clearly_the_next_loads_it_anew_and_the_other_goes_on(
    live: LiveServer,
) -> None:
    frail, sound = instance(live, "frail"), instance(live, "sound")
    broken = frail.runner
    body = {"model": "sound", "prompt": "on", "max_tokens": NUM_TOKENS, "stream": True}
    with connected(live.port) as reader, live.client() as client:
        reader.post("/v1/completions", body)
        reader.read_head()
        chunks = reader.chunks()
        begun = next(chunks)
        sound.runner.hold()
        broken.failure = RuntimeError("out of tea")
        for _ in range(MAX_CRASHES):
            answer = ask(client, "frail")
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "engine_failed"
        while frail.client.error is None:
            pass
        assert client.get("/readyz").status_code == 200, "it would be kept from being loaded anew"
        assert Scrape(client).value("llmd_model_state", model="frail", state="failed") == 1

        assert ask(client, "frail").json()["choices"][0]["text"] == says("ab", 4)
        assert frail.num_loads == 2 and broken.is_closed
        assert Scrape(client).value("llmd_engine_failures_total", model="frail") == 1

        sound.runner.release()
        assert text_of(begun + b"".join(chunks)) == says("on", NUM_TOKENS)
    assert sound.num_loads == 1


def test_even_where_its_end_crashes_nobody_waits_for_ever(live: LiveServer) -> None:
    frail = instance(live, "frail")
    frail.runner.failure = RuntimeError("out of tea")

    def crash(reason: str) -> None:
        raise RuntimeError("out of milk")

    frail.engine.fail_all = crash  # type: ignore[assignment,method-assign]
    with live.client() as client:
        answer = ask(client, "frail")
        assert answer.status_code == 500
        assert "out of milk" in answer.json()["error"]["message"]
        frail.runner.is_closed = True  # its engine is used up
        assert ask(client, "frail").json()["choices"][0]["text"] == says("ab", 4)
