"""A stream that is held, as while a model loads, begins before its generation does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from api.raw_client import connected, data_lines
from fake_server import FakeInstance, HeldRunner, fake_serving, says
from starlette.types import Message

from llmd.api.early_stream import open_stream
from llmd.api.openai.stream import failure
from llmd.api.sse import PING
from llmd.config.settings import ServerSettings
from llmd.core.request import GenerateRequest, TextPrompt
from llmd.errors import InvalidModelFile
from llmd.registry.registry import ModelRegistry
from llmd.serving.generation import Generation, start_generation

QUICK = ServerSettings(sse_ping_interval=0.02)
BROKEN = InvalidModelFile("the file is broken. Download it again.")

CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 6, "stream": True}
TEXT = {"prompt": "[user]hello>", "max_tokens": 6, "stream": True}
BODIES = [("/v1/chat/completions", CHAT), ("/v1/completions", TEXT)]

both = pytest.mark.parametrize(("path", "body"), BODIES, ids=["chat", "completions"])


def answer_of(events: list[dict[str, Any]]) -> str:
    choices = [event["choices"][0] for event in events]
    return "".join(c.get("text", "") or c.get("delta", {}).get("content", "") for c in choices)


def rest_of(chunks: Iterator[bytes]) -> list[dict[str, Any]]:
    """The events that are still to come, without pings; checks the end."""
    *events, done = data_lines(b"".join(chunks).replace(PING, b""))
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


@both
def test_pings_go_out_while_a_model_loads_and_then_the_answer(
    path: str, body: dict[str, Any]
) -> None:
    with fake_serving(QUICK, may_load=False) as server, connected(server.live.port) as client:
        client.post(path, body)
        status, headers = client.read_head()
        assert status == 200 and headers["content-type"].startswith("text/event-stream")
        chunks = client.chunks()
        assert [next(chunks) for _ in range(3)] == [PING] * 3
        server.instance.may_load.set()
        assert answer_of(rest_of(chunks)) == says("[user]hello>", 6)


@both
def test_a_load_that_fails_under_way_is_an_event_with_a_proper_end(
    path: str, body: dict[str, Any]
) -> None:
    with (
        fake_serving(QUICK, may_load=False, load_error=BROKEN) as server,
        connected(server.live.port) as client,
    ):
        client.post(path, body)
        assert client.read_head()[0] == 200
        chunks = client.chunks()
        assert next(chunks) == PING
        server.instance.may_load.set()
        (event,) = rest_of(chunks)
    assert event["error"]["code"] == "invalid_model_file"
    assert event["error"]["message"] == BROKEN.message


@both
def test_a_fault_of_the_client_that_shows_late_is_an_event_too(
    path: str, body: dict[str, Any]
) -> None:
    long = "x" * 64
    body = body | {"prompt": long, "messages": [{"role": "user", "content": long}]}
    with (
        fake_serving(QUICK, may_load=False, num_cells=64) as server,
        connected(server.live.port) as client,
    ):
        client.post(path, body)
        client.read_head()
        chunks = client.chunks()
        assert next(chunks) == PING
        server.instance.may_load.set()
        (event,) = rest_of(chunks)
    assert event["error"]["code"] == "context_length_exceeded"
    assert event["error"]["n_ctx"] == 64


@both
@pytest.mark.parametrize("interval", [0, 10])
def test_what_fails_before_the_first_ping_is_due_has_a_status(
    interval: float, path: str, body: dict[str, Any]
) -> None:
    settings = ServerSettings(sse_ping_interval=interval)
    with (
        fake_serving(settings, may_load=False, load_error=BROKEN) as server,
        connected(server.live.port) as client,
    ):
        client.post(path, body)
        server.watch.wait("asked")
        server.instance.may_load.set()
        status, headers = client.read_head()
    assert (status, headers["content-type"]) == (500, "application/json")


def test_a_client_that_goes_while_it_is_pinged_leaves_nothing_behind() -> None:
    with fake_serving(QUICK, may_load=False) as server:
        with connected(server.live.port) as client:
            client.post("/v1/completions", {"prompt": "gone", "stream": True})
            client.read_head()
            assert next(client.chunks()) == PING
        server.watch.wait("answered")
        server.instance.may_load.set()
        assert server.live.loaded.wait(10)
        with server.live.client() as other:
            other.post("/v1/completions", json={"prompt": "hello", "max_tokens": 2})
        computed = [item.sequence.tokens[0] for batch in server.runner.batches for item in batch]
        assert computed and ord("g") not in computed


def test_a_client_that_goes_while_its_late_answer_streams_stops_it() -> None:
    with fake_serving(QUICK, may_load=False) as server:
        with connected(server.live.port) as client:
            client.post("/v1/completions", {"prompt": "a", "max_tokens": -1, "stream": True})
            client.read_head()
            chunks = client.chunks()
            assert next(chunks) == PING
            server.instance.may_load.set()
            assert b"data: " in next(chunk for chunk in chunks if chunk != PING)
        server.watch.wait("aborted")


Start = Callable[[], Coroutine[Any, Any, Generation]]


def with_model(work: Callable[[FakeInstance, Start], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with a loaded fake, and with what starts a generation on it that never ends."""

    async def main() -> None:
        instance = FakeInstance(HeldRunner(1 << 20), num_sequences=4, error=None)
        instance.may_load.set()
        registry = ModelRegistry([instance])
        await instance.load()
        request = GenerateRequest(model=None, prompts=(TextPrompt(text="a"),))
        try:
            await work(instance, lambda: start_generation(registry, request))
        finally:
            await registry.close()

    asyncio.run(asyncio.wait_for(main(), 30))


async def source(generation: Generation) -> AsyncIterator[bytes]:
    async for _ in generation.events():
        yield b"data: x\n\n"


class Client:
    """Receives a response as an ASGI server does, and goes away when told."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.chunks.put_nowait(message.get("body", b""))


def test_a_generation_that_starts_as_the_client_goes_is_closed() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        started = asyncio.Event()

        async def too_late() -> Generation:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # As if it had been past its last wait when the client went.
                generation = await start()
                started.set()
                return generation
            raise AssertionError

        client = Client()
        response = await open_stream(too_late(), source, failure, ping_interval=0.01)
        answering = asyncio.ensure_future(response({"type": "http"}, client.receive, client.send))
        assert await client.chunks.get() == b""
        assert await client.chunks.get() == PING
        client.gone.set()
        await answering
        await started.wait()
        await asyncio.sleep(0)
        assert instance.client.num_unfinished == 0

    with_model(work)


def test_a_start_that_is_cancelled_before_the_response_is_too() -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def endless() -> Generation:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

        opening = asyncio.ensure_future(open_stream(endless(), source, failure, ping_interval=10))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await cancelled.wait()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_generation_in_time_is_closed_by_its_response() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        client = Client()
        response = await open_stream(start(), source, failure, ping_interval=10)
        answering = asyncio.ensure_future(response({"type": "http"}, client.receive, client.send))
        while await client.chunks.get() != b"data: x\n\n":
            pass
        assert instance.client.num_unfinished == 1
        client.gone.set()
        await answering
        assert instance.client.num_unfinished == 0

    with_model(work)


def test_a_crash_under_way_is_logged_and_an_event(caplog: pytest.LogCaptureFixture) -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        pinged = asyncio.Event()

        async def crash() -> Generation:
            await pinged.wait()
            raise ZeroDivisionError("by zero")

        client = Client()
        response = await open_stream(crash(), source, failure, ping_interval=0.01)
        answering = asyncio.ensure_future(response({"type": "http"}, client.receive, client.send))
        assert [await client.chunks.get(), await client.chunks.get()] == [b"", PING]
        pinged.set()
        await answering
        body = b"".join([client.chunks.get_nowait() for _ in range(client.chunks.qsize())])
        event, done = data_lines(body.replace(PING, b""))
        assert json.loads(event)["error"]["code"] == "engine_failed"
        assert done == "[DONE]"

    with_model(work)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError
