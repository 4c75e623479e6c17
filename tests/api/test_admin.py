"""Models loaded, unloaded and listed over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fake_server import FakeInstance, HeldRunner
from live import LiveServer, serving_all

from llmd.api.admin import _is_local
from llmd.api.reloading import Reloaded
from llmd.config.settings import ServerSettings
from llmd.errors import ConfigError, InvalidModelFile
from llmd.registry.registry import ModelChanges, ModelRegistry


@contextmanager
def two_models(settings: ServerSettings | None = None) -> Iterator[SimpleNamespace]:
    """Fakes a and b, of which none is loaded."""
    made = SimpleNamespace()

    def make() -> ModelRegistry:
        for name in ("a", "b"):
            instance = FakeInstance(HeldRunner(256), num_sequences=4, error=None, name=name)
            instance.may_load.set()
            setattr(made, name, instance)
        return ModelRegistry([made.a, made.b])

    with serving_all(make, settings or ServerSettings()) as live, live.client() as client:
        made.live, made.client = live, client
        try:
            yield made
        finally:
            for instance in (made.a, made.b):
                instance.may_load.set()
                instance.runner.release()


@pytest.fixture(scope="module")
def shared() -> Iterator[SimpleNamespace]:
    """Two models with a loaded, for tests that leave them so."""
    with two_models() as models:
        models.client.post("/models/load", json={"model": "a"})
        yield models


def listed(client: httpx.Client) -> dict[str, dict[str, Any]]:
    return {model["id"]: model for model in client.get("/v1/models").json()["data"]}


def test_load_answers_when_the_model_is_ready() -> None:
    with two_models() as models:
        answer = models.client.post("/models/load", json={"model": "b"})
        assert answer.status_code == 200
        told = answer.json()
        assert (told["success"], told["id"], told["state"]) == (True, "b", "ready")
        assert told["status"] == {"value": "loaded"}
        states = {name: model["state"] for name, model in listed(models.client).items()}
        assert states == {"a": "unloaded", "b": "ready"}


def test_unload_answers_when_it_is_gone() -> None:
    with two_models() as models:
        models.client.post("/v1/models/load", json={"model": "a"})
        told = models.client.post("/v1/models/unload", json={"model": "a"}).json()
        assert (told["success"], told["id"], told["state"]) == (True, "a", "unloaded")
        assert models.a.runner.is_closed


@pytest.mark.parametrize("path", ["/models/load", "/models/unload"])
@pytest.mark.parametrize("body", [{"model": "c"}, {}])
def test_a_model_that_is_not_served_is_answered_with_those_that_are(
    path: str, body: dict[str, str], shared: SimpleNamespace
) -> None:
    answer = shared.client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "a, b" in answer.json()["error"]["message"]


def test_a_load_that_fails_tells_why_and_so_does_the_list() -> None:
    with two_models() as models:
        models.a.load_error = InvalidModelFile("the file is broken. Download it again.")
        answer = models.client.post("/models/load", json={"model": "a"})
        assert answer.json()["error"]["code"] == "invalid_model_file"
        assert answer.headers["x-should-retry"] == "false"
        told = listed(models.client)["a"]
        assert (told["state"], told["error"]) == ("failed", models.a.load_error.message)
        assert models.client.get("/readyz").status_code == 200, "the other can serve"


def test_a_loaded_model_is_listed_with_its_use() -> None:
    with two_models() as models:
        body = {"model": "a", "keep_alive": "10m"}
        told = models.client.post("/models/load", json=body).json()
        assert told["num_users"] == 0
        assert told["expires_at"] == pytest.approx(told["last_used"] + 600, abs=0.01)
        assert set(told["memory"]) == {"total", "host", "device"}
        assert "memory" not in listed(models.client)["b"]


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/props?model=a", "/slots?model=a"])
def test_who_only_looks_uses_no_model(path: str, shared: SimpleNamespace) -> None:
    before = shared.a.usage.last_used
    assert shared.client.get(path).status_code == 200
    assert shared.a.usage.last_used == before
    assert shared.b.num_loads == 0


def test_who_only_looks_loads_nothing(shared: SimpleNamespace) -> None:
    answer = shared.client.get("/props?model=b")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_loading")
    assert shared.client.get("/health").status_code == 200
    assert shared.b.num_loads == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a", "max_tokens": 1}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}),
        ("/v1/responses", {"input": "a", "max_output_tokens": 1}),
        ("/completion", {"prompt": "a", "n_predict": 1}),
        ("/tokenize", {"content": "a"}),
        ("/detokenize", {"tokens": [97]}),
        ("/apply-template", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v1/responses/input_tokens", {"input": "a"}),
    ],
)
@pytest.mark.parametrize("is_valid", [True, False])
def test_every_use_ends_and_says_how_long_the_model_stays(
    path: str, body: dict[str, Any], is_valid: bool, shared: SimpleNamespace
) -> None:
    if not is_valid:  # which shows only when there is a model
        body = body | {"prompt": [9999], "tokens": [9999], "content": [9999], "grammar": "no"}
    answer = shared.client.post(path, json={"model": "a", "keep_alive": len(path) * 60, **body})
    assert answer.status_code in (200, 400)
    told = listed(shared.client)["a"]
    assert told["num_users"] == 0
    if is_valid:
        assert told["expires_at"] == pytest.approx(told["last_used"] + len(path) * 60, abs=0.01)


@pytest.mark.parametrize("keep_alive", ["soon", True, [1], "1h30"])
def test_a_keep_alive_that_is_none_is_refused(keep_alive: object, shared: SimpleNamespace) -> None:
    body = {"model": "a", "prompt": "a", "keep_alive": keep_alive}
    answer = shared.client.post("/v1/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "keep_alive"


def test_a_keep_alive_of_zero_unloads_after_the_answer() -> None:
    with two_models() as models:
        gone = asyncio.Event()  # set on the server's loop; its flag is what is looked at
        drain = models.a.drain

        async def watched() -> None:
            await drain()
            gone.set()
            models.a.watch.note("gone")

        models.a.drain = watched
        body = {"model": "a", "prompt": "a", "max_tokens": 2, "keep_alive": 0}
        assert models.client.post("/v1/completions", json=body).status_code == 200
        models.a.watch.wait("gone")
        assert listed(models.client)["a"]["state"] == "unloaded"


def test_a_stream_holds_its_model_until_it_ends_and_a_client_that_goes_lets_it_go() -> None:
    with two_models() as models:
        models.client.post("/models/load", json={"model": "a"})
        models.a.runner.hold_next()
        body = {"model": "a", "prompt": "a", "stream": True, "max_tokens": 100}
        with models.client.stream("POST", "/v1/completions", json=body):
            models.a.runner.wait_until_held()
            assert listed(models.client)["a"]["num_users"] == 1
        models.a.watch.wait("forgotten")
        assert listed(models.client)["a"]["num_users"] == 0
        models.a.runner.release()


def test_a_streamed_request_gets_pings_while_its_model_loads() -> None:
    with two_models(ServerSettings(sse_ping_interval=0.05)) as models:
        models.a.may_load.clear()
        body = {"model": "a", "prompt": "a", "stream": True, "max_tokens": 2}
        with models.client.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            assert next(lines) == ": ping"
            assert models.a.load_progress == 0.0
            models.a.may_load.set()
            assert [line for line in lines if line][-1] == "data: [DONE]"


def reloading(live: LiveServer, outcome: Reloaded | ConfigError) -> None:
    async def reload() -> Reloaded:
        if isinstance(outcome, ConfigError):
            raise outcome
        return outcome

    live.state.reload = reload


def test_a_reload_tells_what_it_did() -> None:
    done = Reloaded(None, ("server.max_body_bytes",), ("server.port",), ModelChanges(added=("c",)))
    with two_models() as models:
        reloading(models.live, done)
        assert models.client.post("/reload").json() == {
            "success": True,
            "file": None,
            "applied": ["server.max_body_bytes"],
            "needs_restart": ["server.port"],
            "models": {"added": ["c"], "removed": [], "changed": [], "adjusted": []},
        }
    assert done.describe() == (
        "added: c; applied: server.max_body_bytes; needs a restart: server.port"
    )
    assert Reloaded(None).describe() == "nothing changed"


def test_a_reload_of_a_faulty_file_tells_the_fault() -> None:
    with two_models() as models:
        reloading(models.live, ConfigError("llmd.toml line 3: unknown key x. Remove it."))
        answer = models.client.post("/v1/reload")
        assert answer.json()["error"]["code"] == "config_error"
        assert "line 3" in answer.json()["error"]["message"]


def test_without_a_configuration_there_is_nothing_to_reload() -> None:
    with two_models() as models:
        answer = models.client.post("/reload")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported")


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (None, True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("a proxy", False),
    ],
)
def test_a_configuration_is_reloaded_from_its_own_machine_only(
    client: str | None, expected: bool
) -> None:
    host = None if client is None else SimpleNamespace(host=client)
    request: Any = SimpleNamespace(client=host)
    assert _is_local(request) is expected
