"""What clients see of a daemon that ends."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from api.raw_client import connected
from fake_server import FakeServer, fake_serving, says

ASK = {"prompt": "a", "max_tokens": 3}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_serving() as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[httpx.Client]:
    with server.live.client() as client:
        yield client


def test_new_requests_are_sent_away_with_when_to_come_back(
    server: FakeServer, client: httpx.Client
) -> None:
    assert client.post("/v1/completions", json=ASK).status_code == 200
    server.live.state.drain.begin()
    for path in ("/v1/completions", "/v1/responses", "/no/route"):
        refused = client.post(path, json=ASK)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["connection"] == "close"
    assert client.get("/v1/models").status_code == 503


def test_it_lives_on_and_is_not_ready(server: FakeServer, client: httpx.Client) -> None:
    server.live.state.drain.begin()
    assert client.get("/livez").status_code == 200
    for path in ("/readyz", "/health", "/v1/health"):
        ready = client.get(path)
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "draining")
        assert ready.headers["connection"] == "close"


def test_who_is_being_answered_gets_the_whole_answer(
    server: FakeServer, client: httpx.Client
) -> None:
    drain = server.live.state.drain
    server.runner.hold_next()
    with client.stream("POST", "/v1/completions", json={**ASK, "stream": True}) as answer:
        server.runner.wait_until_held()
        assert drain.num_inside == 1
        drain.begin()
        with server.live.client() as late:
            assert late.post("/v1/completions", json=ASK).status_code == 503
        server.runner.release()
        assert answer.read().endswith(b"data: [DONE]\n\n")


def test_an_answer_that_begins_meanwhile_is_the_last_one_of_its_connection(
    server: FakeServer,
) -> None:
    server.runner.hold_next()
    with connected(server.live.port) as raw:
        raw.post("/v1/completions", ASK)
        server.runner.wait_until_held()
        server.live.state.drain.begin()
        server.runner.release()
        status, headers = raw.read_head()
        assert (status, headers["connection"]) == (200, "close")
        assert says("a", 3) in raw.read(int(headers["content-length"])).decode()


def test_a_large_body_is_taken_before_its_client_is_sent_away(
    server: FakeServer, client: httpx.Client
) -> None:
    server.live.state.drain.begin()
    body = {"prompt": "x" * 20_000_000}
    assert client.post("/v1/completions", json=body).status_code == 503
