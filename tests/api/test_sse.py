"""The event stream's manners: pings by the clock, slow readers, failures under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from api.raw_client import connected, data_lines, text_of
from fake_server import FakeServer, fake_serving, says
from starlette.types import Message

from llmd.api.sse import PING, EventStreamResponse
from llmd.config.settings import ServerSettings

REQUEST = {"prompt": "hello", "max_tokens": 20, "stream": True}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_serving(ServerSettings(sse_ping_interval=0.02)) as server:
        yield server


def test_pings_go_out_while_one_step_takes_long(server: FakeServer) -> None:
    server.runner.hold_next()
    with connected(server.live.port) as client:
        client.post("/v1/completions", REQUEST)
        assert client.read_head()[0] == 200
        chunks = client.chunks()
        server.runner.wait_until_held()
        assert [next(chunks) for _ in range(3)] == [PING] * 3
        server.runner.release()
        assert text_of(b"".join(chunks).replace(PING, b"")) == says("hello", 20)


def test_pings_go_out_between_two_tokens(server: FakeServer) -> None:
    with connected(server.live.port) as client:
        client.post("/v1/completions", {**REQUEST, "max_tokens": 200_000})
        client.read_head()
        chunks = client.chunks()
        assert b"data: " in next(chunks)
        server.runner.hold()
        pings = (chunk for chunk in chunks if chunk == PING)
        assert [next(pings) for _ in range(2)] == [PING] * 2


def test_an_interval_of_zero_sends_no_pings() -> None:
    async def source() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.05)
        yield b"data: x\n\n"

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    sent: list[bytes] = []

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    response = EventStreamResponse(source(), lambda: None, ping_interval=0)
    asyncio.run(response({"type": "http"}, receive, send))
    assert sent == [b"", b"data: x\n\n", b""]


def test_the_source_is_closed_when_a_send_fails() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"data: x\n\n"

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        raise OSError("broken pipe")

    closed: list[bool] = []
    response = EventStreamResponse(source(), lambda: closed.append(True), ping_interval=1)
    with pytest.raises(OSError, match="broken pipe"):
        asyncio.run(response({"type": "http"}, receive, send))
    assert closed


def test_a_slow_reader_gets_all_text_in_fewer_events() -> None:
    with fake_serving(send_buffer=4096) as server:
        with connected(server.live.port, receive_buffer=4096) as slow:
            slow.post("/v1/completions", {"prompt": "slow", "max_tokens": 1200, "stream": True})
            with server.live.client() as quick:
                # One more sequence: it is over only after the slow one's 1200 steps.
                body = {"prompt": "quick", "max_tokens": 1400}
                quick.post("/v1/completions", json=body).raise_for_status()
            slow.read_head()
            body_bytes = b"".join(slow.chunks())
        assert text_of(body_bytes) == says("slow", 1200)
        assert len(data_lines(body_bytes)) < 600


def test_a_slow_reader_of_two_choices_gets_them_merged_too() -> None:
    with fake_serving(send_buffer=4096) as server:
        with connected(server.live.port, receive_buffer=4096) as slow:
            request = {"prompt": "slow", "max_tokens": 1200, "stream": True, "n": 2}
            slow.post("/v1/completions", request)
            with server.live.client() as quick:
                body = {"prompt": "quick", "max_tokens": 1400}
                quick.post("/v1/completions", json=body).raise_for_status()
            slow.read_head()
            *chunks, _ = data_lines(b"".join(slow.chunks()))
        texts = ["", ""]
        for choice in (json.loads(chunk)["choices"][0] for chunk in chunks):
            texts[choice["index"]] += choice["text"]
        assert texts == [says("slow", 1200)] * 2
        assert len(chunks) < 1200


def test_a_crash_under_way_is_an_error_event_and_a_proper_end(server: FakeServer) -> None:
    with connected(server.live.port) as client:
        client.post("/v1/completions", {**REQUEST, "max_tokens": 200_000})
        client.read_head()
        chunks = client.chunks()
        next(chunks)
        server.runner.hold()
        server.runner.failure = RuntimeError("out of tea")
        server.runner.release()
        *_, last, done = data_lines(b"".join(chunks).replace(PING, b""))
    error = json.loads(last)["error"]
    assert (error["type"], error["code"]) == ("server_error", "engine_failed")
    assert "goes on" in error["message"] and done == "[DONE]"
    server.runner.failure = None
    with server.live.client() as again:
        answer = again.post("/v1/completions", json={"prompt": "on", "max_tokens": 4}).json()
    assert answer["choices"][0]["text"] == says("on", 4)


def test_a_crash_of_a_whole_answer_is_a_500_that_is_not_repeated(server: FakeServer) -> None:
    server.runner.failure = RuntimeError("out of tea")
    with server.live.client() as client:
        response = client.post("/v1/completions", json={"prompt": "a"})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "engine_failed"
    assert response.headers["x-should-retry"] == "false"
