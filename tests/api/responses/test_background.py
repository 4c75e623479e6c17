"""Responses that run in the background: polled, followed, cancelled, and never lost in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from api.raw_client import connected
from fake_server import FakeServer, fake_serving
from response_events import check_response, check_stream, read_events

from llmd.api.openai import response_background
from llmd.api.openai.response_background import BackgroundResponses
from llmd.errors import Draining

ASK: dict[str, Any] = {"input": "hello", "background": True, "max_output_tokens": 30}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_serving() as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[httpx.Client]:
    with server.live.client() as client:
        yield client


def begin(client: httpx.Client, **fields: Any) -> str:
    answer = client.post("/v1/responses", json={**ASK, **fields})
    assert answer.status_code == 200, answer.text
    check_response(answer.json(), "queued")
    return str(answer.json()["id"])


def get(client: httpx.Client, id_: str) -> dict[str, Any]:
    answer = client.get(f"/v1/responses/{id_}")
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    return response


def events_of(client: httpx.Client, id_: str, after: int | None = None) -> bytes:
    query = "" if after is None else f"&starting_after={after}"
    return client.get(f"/v1/responses/{id_}?stream=true{query}").content


def end_of(client: httpx.Client, id_: str) -> dict[str, Any]:
    """The response when it is over: the end of its stream tells when."""
    return dict(read_events(events_of(client, id_))[-1]["response"])


@contextmanager
def held(server: FakeServer, client: httpx.Client, **fields: Any) -> Iterator[str]:
    """A response in the middle of its work until the block ends."""
    server.runner.hold_next()
    id_ = begin(client, **fields)
    server.runner.wait_until_held()
    try:
        yield id_
    finally:
        server.runner.release()


def test_it_is_polled_to_its_end(server: FakeServer, client: httpx.Client) -> None:
    with held(server, client) as id_:
        assert get(client, id_)["status"] == "in_progress"
    over = end_of(client, id_)
    assert over["status"] == "incomplete" and over["output"]
    assert get(client, id_) == over


def test_while_the_model_loads_it_is_queued() -> None:
    with fake_serving(may_load=False) as server, server.live.client() as client:
        id_ = begin(client)
        server.watch.wait("asked")
        assert get(client, id_)["status"] == "queued"
        server.instance.may_load.set()
        assert end_of(client, id_)["status"] == "incomplete"


def test_a_full_queue_makes_it_wait_and_not_fail() -> None:
    with fake_serving(num_sequences=1, max_queue=0) as server, server.live.client() as client:
        with held(server, client):
            second = begin(client)
            assert get(client, second)["status"] == "queued"
        assert end_of(client, second)["status"] == "incomplete"


def test_its_stream_keeps_the_grammar(client: httpx.Client) -> None:
    answer = client.post("/v1/responses", json={**ASK, "stream": True})
    over = check_stream(answer.content, is_background=True)
    assert over["background"] is True
    assert events_of(client, over["id"]) == answer.content


def test_its_stream_is_followed_while_it_runs(server: FakeServer, client: httpx.Client) -> None:
    with (
        held(server, client) as id_,
        client.stream("GET", f"/v1/responses/{id_}?stream=true") as stream,
    ):
        chunks = stream.iter_raw()
        first = next(chunks)
        server.runner.release()
        raw = first + b"".join(chunks)
    check_stream(raw, is_background=True)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_its_stream_is_resumed_after_any_event(client: httpx.Client, after: int) -> None:
    id_ = begin(client)
    whole = read_events(events_of(client, id_))
    assert read_events(events_of(client, id_, after)) == whole[after + 1 :]
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))


def test_after_its_last_event_there_is_nothing(client: httpx.Client) -> None:
    id_ = begin(client)
    last = read_events(events_of(client, id_))[-1]["sequence_number"]
    assert events_of(client, id_, last) == b""


def test_it_survives_its_client(server: FakeServer, client: httpx.Client) -> None:
    server.runner.hold_next()
    with connected(server.live.port) as leaver:
        leaver.post("/v1/responses", {**ASK, "stream": True})
        leaver.read_head()
        (created, *_) = read_events(next(leaver.chunks()))
        server.runner.wait_until_held()
    server.runner.release()
    over = end_of(client, created["response"]["id"])
    assert over["status"] == "incomplete"
    assert over["usage"]["output_tokens"] == 30


def test_without_background_a_client_that_leaves_ends_it(server: FakeServer) -> None:
    server.runner.hold_next()
    with connected(server.live.port) as leaver:
        leaver.post("/v1/responses", {"input": "hello", "stream": True})
        server.runner.wait_until_held()
    server.watch.wait("forgotten")
    server.runner.release()
    server.watch.wait("aborted")


def test_it_is_cancelled(server: FakeServer, client: httpx.Client) -> None:
    with held(server, client, max_output_tokens=100_000) as id_:
        answer = client.post(f"/v1/responses/{id_}/cancel")
        server.watch.wait("forgotten")
    cancelled = answer.json()
    check_response(cancelled, "cancelled")
    assert get(client, id_) == cancelled
    assert check_stream(events_of(client, id_), is_background=True) == cancelled
    assert client.post(f"/v1/responses/{id_}/cancel").json() == cancelled


def test_cancelling_what_is_over_changes_nothing(client: httpx.Client) -> None:
    id_ = begin(client)
    over = end_of(client, id_)
    assert client.post(f"/v1/responses/{id_}/cancel").json() == over


def test_deleting_it_ends_it(server: FakeServer, client: httpx.Client) -> None:
    with held(server, client, max_output_tokens=100_000) as id_:
        assert client.delete(f"/v1/responses/{id_}").json()["deleted"] is True
        server.watch.wait("forgotten")
    assert client.get(f"/v1/responses/{id_}").status_code == 404


def test_another_key_does_not_see_it(server: FakeServer, client: httpx.Client) -> None:
    other = {"authorization": "Bearer other"}
    with held(server, client) as id_:
        for method, path in (("GET", id_), ("GET", f"{id_}?stream=true"),
                             ("POST", f"{id_}/cancel"), ("DELETE", id_)):  # fmt: skip
            answer = client.request(method, f"/v1/responses/{path}", headers=other)
            assert answer.status_code == 404
    assert end_of(client, id_)["status"] == "incomplete"


def test_what_is_not_finished_cannot_be_continued(server: FakeServer, client: httpx.Client) -> None:
    with held(server, client) as id_:
        answer = client.post("/v1/responses", json={"input": "x", "previous_response_id": id_})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "previous_response_id"


def test_a_refusal_that_needs_the_model_is_its_failure() -> None:
    with fake_serving(num_cells=64) as server, server.live.client() as client:
        id_ = begin(client, input="x" * 100)
        over = check_stream(events_of(client, id_), is_background=True)
        assert over["status"] == "failed"
        assert over["error"]["code"] == "invalid_prompt"
        assert "context" in over["error"]["message"]


def test_a_failure_of_the_engine_is_its_failure(server: FakeServer, client: httpx.Client) -> None:
    with held(server, client) as id_:
        server.runner.failure = RuntimeError("out of tea")
    over = check_stream(events_of(client, id_), is_background=True)
    assert over["status"] == "failed" and over["error"]["code"] == "server_error"


def test_a_failure_in_a_stream_is_an_event_of_it(server: FakeServer, client: httpx.Client) -> None:
    server.runner.hold_next()
    body = {"input": "hello", "stream": True}
    with client.stream("POST", "/v1/responses", json=body) as stream:
        server.runner.wait_until_held()
        server.runner.failure = RuntimeError("out of tea")
        server.runner.release()
        raw = b"".join(stream.iter_raw())
    over = check_stream(raw)
    assert over["status"] == "failed"
    assert client.get(f"/v1/responses/{over['id']}").status_code == 404


def test_beyond_what_one_daemon_takes_on_there_is_a_429(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_background, "MAX_RUNNING", 0)
    answer = client.post("/v1/responses", json=ASK)
    assert answer.status_code == 429 and answer.headers["retry-after"]
    assert answer.json()["error"]["code"] == "queue_full"


def test_what_ends_takes_none_on_any_more() -> None:
    async def main() -> None:
        responses = BackgroundResponses()
        await responses.close()
        run: Any = None
        with pytest.raises(Draining):
            await responses.begin(run)

    asyncio.run(main())
