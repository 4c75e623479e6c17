"""Keys over HTTP: who gets in, and what each key may do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from api.raw_client import connected
from fake_server import FakeServer, fake_serving
from live import PATIENCE

from llmd.api.tenant import name_tenant, secret_tenant
from llmd.config.api_keys import ApiKey, digest_of
from llmd.config.settings import ServerSettings
from llmd.engine.request import Request as EngineRequest

ONE = {"prompt": "a", "max_tokens": 1}
SHORT = {"input": "a", "max_output_tokens": 16}
CHAT = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}


def key(name: str, **fields: Any) -> ApiKey:
    """Its secret is its name in capitals."""
    return ApiKey(name=name, digest=digest_of(name.upper()), **fields)


@contextmanager
def guarded(*keys: ApiKey, **options: Any) -> Iterator[tuple[FakeServer, httpx.Client]]:
    with fake_serving(**options) as server, server.live.client() as client:
        server.live.state.keys.replace(keys)
        yield server, client


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """Of a server with the keys alice and root, who is an administrator."""
    with guarded(key("alice"), key("root", admin=True)) as (_, client):
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        {"authorization": "ALICE"},
        {"authorization": "Basic ALICE"},
        {"x-api-key": "alice"},
        {"cookie": "key=ALICE"},
    ],
)
def test_without_a_key_that_is_known_there_is_a_401(
    headers: dict[str, str], client: httpx.Client
) -> None:
    response = client.post("/v1/completions?api_key=ALICE", json=ONE, headers=headers)
    assert code_of(response) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert "x-request-id" in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        bearer("ALICE"),
        {"authorization": "bearer  ALICE"},
        {"x-api-key": "ALICE"},
        bearer("placeholder") | {"x-api-key": "ALICE"},
        bearer("ALICE") | {"x-api-key": "placeholder"},
    ],
)
def test_a_key_opens_the_door_in_either_header(
    headers: dict[str, str], client: httpx.Client
) -> None:
    assert client.post("/v1/completions", json=ONE, headers=headers).status_code == 200


def test_a_key_may_hold_any_letters() -> None:
    with guarded(ApiKey(name="a", digest=digest_of("schlüssel"))) as (_, client):
        headers = [(b"x-api-key", "schlüssel".encode())]
        assert client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("secret", "error", "code"),
    [
        ("wrong", openai.AuthenticationError, "invalid_api_key"),
        ("ALICE", openai.PermissionDeniedError, "model_forbidden"),
        ("BUSY", openai.RateLimitError, "rate_limit_exceeded"),
    ],
)
def test_the_openai_client_raises_what_its_users_catch(
    secret: str, error: type[openai.APIStatusError], code: str
) -> None:
    busy = key("busy", requests_per_minute=1)
    with guarded(key("alice", models=("other",)), busy) as (server, http):
        http.post("/v1/completions", json=ONE, headers=bearer("BUSY"))
        with (
            openai.OpenAI(
                base_url=f"{server.live.url}/v1",
                api_key=secret,
                max_retries=0,
                http_client=openai.DefaultHttpxClient(trust_env=False),
            ) as client,
            pytest.raises(error) as refused,
        ):
            client.completions.create(model="fake", prompt="a")
    assert refused.value.code == code


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/v1/health"])
def test_probes_need_no_key(path: str, client: httpx.Client) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/props", "/nothing/here", "/metrics"])
def test_all_else_needs_one_whether_it_exists_or_not(path: str, client: httpx.Client) -> None:
    assert client.get(path).status_code == 401


def test_nothing_of_a_strangers_body_is_waited_for() -> None:
    with guarded(key("alice")) as (server, _), connected(server.live.port) as stranger:
        head = (
            "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50000000\r\n\r\n"
        )
        stranger.send(head.encode() + b"{")
        assert stranger.read_head()[0] == 401


def test_without_keys_the_daemon_is_open() -> None:
    with guarded() as (_, client):
        for headers in ({}, bearer("anything")):
            assert client.post("/v1/completions", json=ONE, headers=headers).status_code == 200
        assert client.get("/slots").status_code == 200


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models/load"),
        ("POST", "/models/unload"),
        ("POST", "/reload"),
        ("GET", "/slots"),
        ("POST", "/props"),
        ("GET", "/metrics"),
    ],
)
def test_what_operators_do_needs_an_administrators_key(
    method: str, path: str, prefix: str, client: httpx.Client
) -> None:
    refused = client.request(method, prefix + path, headers=bearer("ALICE"))
    assert code_of(refused) == (403, "forbidden")
    let_in = client.request(method, prefix + path, headers=bearer("ROOT"))
    assert let_in.status_code not in (401, 403)


def test_a_key_sees_and_uses_its_models_alone() -> None:
    with guarded(key("alice", models=("other",)), key("bob", models=("fake",))) as (_, client):
        alice, bob = bearer("ALICE"), bearer("BOB")
        listed = [client.get("/v1/models", headers=each).json()["data"] for each in (alice, bob)]
        assert [[model["id"] for model in models] for models in listed] == [[], ["fake"]]
        for path, body in (
            ("/v1/completions", ONE),
            ("/v1/chat/completions", CHAT),
            ("/v1/responses", {"input": "a", "max_output_tokens": 16}),
            ("/completion", ONE),
            ("/tokenize", {"content": "a"}),
            ("/apply-template", CHAT),
        ):
            # A name that is not served is advisory where one model alone is, so it is no way round.
            for model in ("fake", "gpt-4"):
                refused = client.post(path, json={**body, "model": model}, headers=alice)
                assert code_of(refused) == (403, "model_forbidden"), path
            assert client.post(path, json=body, headers=bob).status_code == 200, path
        for path in ("/v1/models/fake", "/props", "/props?model=fake"):
            assert client.get(path, headers=alice).status_code == 403
            assert client.get(path, headers=bob).status_code == 200


def test_too_many_a_minute_are_a_429_that_says_when_to_come_back() -> None:
    with guarded(key("alice", requests_per_minute=2), key("bob")) as (_, client):
        alice = bearer("ALICE")
        for left in ("1", "0"):
            answer = client.post("/v1/completions", json=ONE, headers=alice)
            assert answer.status_code == 200
            assert answer.headers["x-ratelimit-remaining-requests"] == left
        refused = client.post("/v1/completions", json=ONE, headers=alice)
        assert code_of(refused) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["x-ratelimit-limit-requests"] == "2"
        # Looking costs nothing, and others are not touched.
        assert client.get("/v1/models", headers=alice).status_code == 200
        assert client.post("/v1/completions", json=ONE, headers=bearer("BOB")).status_code == 200


def test_a_request_counts_until_its_answer_ends_however_it_does() -> None:
    endless = json.dumps({**ONE, "max_tokens": -1, "stream": True}).encode()
    with guarded(key("alice", concurrency=1)) as (server, client):
        with connected(server.live.port) as running:
            head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: ALICE\r\n"
            running.send(f"{head}content-length: {len(endless)}\r\n\r\n".encode() + endless)
            server.watch.wait("submitted")
            refused = client.post("/v1/completions", json=ONE, headers=bearer("ALICE"))
            assert code_of(refused) == (429, "rate_limit_exceeded")
            assert int(refused.headers["retry-after"]) >= 1
        server.watch.wait("forgotten")
        assert client.post("/v1/completions", json=ONE, headers=bearer("ALICE")).status_code == 200


def test_a_response_in_the_background_counts_until_it_is_done() -> None:
    with guarded(key("alice", concurrency=1)) as (server, client):
        server.runner.hold_next()
        body = {"input": "a", "background": True, "max_output_tokens": 16}
        begun = client.post("/v1/responses", json=body, headers=bearer("ALICE"))
        assert begun.status_code == 200
        refused = client.post("/v1/completions", json=ONE, headers=bearer("ALICE"))
        assert refused.status_code == 429
        server.runner.release()
        url = f"/v1/responses/{begun.json()['id']}"
        stream = client.get(f"{url}?stream=true", headers=bearer("ALICE"), timeout=PATIENCE)
        assert "response.completed" in stream.text or "response.incomplete" in stream.text
        assert client.post("/v1/completions", json=ONE, headers=bearer("ALICE")).status_code == 200


def submitted(server: FakeServer, client: httpx.Client, **request: Any) -> EngineRequest:
    """What the engine gets of a request."""
    seen: list[EngineRequest] = []
    submit = server.instance.client.submit

    def record(wanted: EngineRequest) -> object:
        seen.append(wanted)
        return submit(wanted)

    server.instance.client.submit = record  # type: ignore
    client.post("/v1/completions", **request).raise_for_status()
    server.instance.client.submit = submit  # type: ignore[method-assign]
    return seen[0]


@pytest.mark.parametrize(
    ("of_key", "asked", "expected"), [(5, None, 5), (5, -2, 3), (5, 9, 5), (-3, 0, -3), (0, 100, 0)]
)
def test_a_request_may_only_want_less_than_its_keys_priority(
    of_key: int, asked: int | None, expected: int
) -> None:
    body = ONE if asked is None else {**ONE, "priority": asked}
    with guarded(key("alice", priority=of_key)) as (server, client):
        wanted = submitted(server, client, json=body, headers=bearer("ALICE"))
    assert wanted.priority == expected


def test_a_named_key_stays_the_same_tenant_when_its_secret_changes() -> None:
    with guarded(key("alice")) as (server, client):
        before = submitted(server, client, json=ONE, headers=bearer("ALICE"))
        server.live.state.keys.replace([ApiKey(name="alice", digest=digest_of("new"))])
        after = submitted(server, client, json=ONE, headers=bearer("new"))
    assert before.tenant == after.tenant == name_tenant("alice")


def test_a_key_without_a_name_is_the_tenant_that_it_is_without_keys() -> None:
    with guarded(key("#1", is_named=False)) as (server, client):
        wanted = submitted(server, client, json=ONE, headers=bearer("#1"))
    assert wanted.tenant == secret_tenant("#1") != name_tenant("#1")


def test_a_stored_response_is_its_keys_own() -> None:
    with guarded(key("alice"), key("bob")) as (_, client):
        made = client.post("/v1/responses", json=SHORT, headers=bearer("ALICE")).json()
        url = f"/v1/responses/{made['id']}"
        assert client.get(url, headers=bearer("ALICE")).status_code == 200
        assert client.get(url, headers=bearer("BOB")).status_code == 404


def test_a_path_before_the_routes_is_no_way_round() -> None:
    settings = ServerSettings(root_path="/llm")
    with guarded(key("alice"), settings=settings) as (_, client):
        for path in ("/llm/slots", "/llm/v1/slots", "/llm/models/load", "/llm/v1/models"):
            assert client.get(path).status_code == 401
        assert client.get("/llm/slots", headers=bearer("ALICE")).status_code == 403
        assert client.get("/llm/livez").status_code == 200


def test_strangers_are_not_recorded(tmp_path: Path) -> None:
    with guarded(key("alice"), settings=ServerSettings(record=tmp_path / "kept")) as (_, client):
        for headers in ({}, bearer("ALICE")):
            client.post("/v1/completions", json=ONE, headers=headers)
    (kept,) = (tmp_path / "kept").glob("*.json")
    assert "ALICE" not in kept.read_text()
