"""Clients that are slow on purpose, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from api.raw_client import RawClient, connected
from live import PATIENCE
from starlette.types import Receive, Scope, Send

from llmd.api.sse import EventStreamResponse
from llmd.config.duration import Duration
from llmd.config.settings import ServerSettings
from llmd.daemon.protocol import MAX_HEAD_BYTES, MIN_BYTES, BoundedHttpProtocol

HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\n"
SOON, LATE = Duration(0.2), Duration(3600)

App = Callable[[Scope, Receive, Send], Any]


class Served:
    """An application on a port, and what it saw."""

    def __init__(self, app: App, settings: ServerSettings) -> None:
        self.state = SimpleNamespace(llmd=SimpleNamespace(settings=settings))
        self.port = 0
        self.over = threading.Event()
        """A request has ended, however it did."""
        self.bodies: list[bytes] = []
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            self.over.set()

    def ended(self) -> None:
        assert self.over.wait(PATIENCE), "the request never ended"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body's size; nothing where the client leaves before all of it is here."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    body = b"%d" % size
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))]})  # fmt: skip
    await send({"type": "http.response.body", "body": body})


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await send({"type": "http.response.start", "status": 401,
                "headers": [(b"content-length", b"0")]})  # fmt: skip
    await send({"type": "http.response.body"})


def pause(seconds: float) -> None:
    """The client does nothing, which is what it is about here."""
    threading.Event().wait(seconds)


@contextmanager
def served(app: App, **settings: Any) -> Iterator[Served]:
    with socket.socket() as listener:
        # So little that a reader who stops is felt at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        made = Served(app, ServerSettings(**settings))
        made.port = listener.getsockname()[1]
        config = uvicorn.Config(
            made, http=BoundedHttpProtocol, ws="none", lifespan="off", log_config=None
        )
        server = uvicorn.Server(config)
        server.config.timeout_graceful_shutdown = 1
        thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[listener]),))
        thread.start()
        try:
            yield made
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def refusal(client: RawClient) -> tuple[int, str]:
    """Status and code of an answer behind which the connection ends."""
    status, headers = client.read_head()
    body = client.read(int(headers["content-length"]))
    assert headers["connection"] == "close"
    assert client.read(1) == b"", "the connection goes on"
    return status, json.loads(body)["error"]["code"]


@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\n", HEAD + b"x-a: b"])
def test_a_head_that_does_not_end_is_given_up(sent: bytes) -> None:
    with served(echo, receive_timeout=SOON) as server, connected(server.port) as client:
        client.send(sent)
        assert refusal(client) == (408, "request_timeout")


def test_dripping_does_not_prolong_it() -> None:
    with served(echo, receive_timeout=SOON) as server, connected(server.port) as client:
        client.send(HEAD)
        answered = threading.Event()

        def drip() -> None:
            while not answered.wait(0.02):
                try:
                    client.send(b"x-a: b\r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert client.read_head()[0] == 408
        finally:
            answered.set()
            dripping.join(PATIENCE)


def test_a_connection_that_sends_nothing_is_closed_without_a_word() -> None:
    with served(echo, receive_timeout=SOON) as server, connected(server.port) as client:
        assert client.read(1) == b""


@pytest.mark.parametrize("timeout", [LATE, Duration(0)])
def test_a_head_without_end_is_bounded_by_its_size_too(timeout: Duration) -> None:
    with served(echo, receive_timeout=timeout) as server, connected(server.port) as client:
        client.send(HEAD)
        line = b"x-filler: %s\r\n" % (b"x" * 1000)
        client.send(line * (MAX_HEAD_BYTES // len(line) + 1))
        assert refusal(client) == (431, "head_too_large")


def test_a_large_head_below_the_bound_is_taken() -> None:
    with served(echo, receive_timeout=LATE) as server, connected(server.port) as client:
        client.send(HEAD + b"x-filler: %s\r\n" % (b"x" * 30_000) + b"content-length: 0\r\n\r\n")
        assert client.read_head()[0] == 200


@pytest.mark.parametrize(
    "head", [b"content-length: 99999\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n5\r\n"]
)
def test_a_body_that_does_not_come_is_given_up_and_its_request_ends(head: bytes) -> None:
    with served(echo, receive_timeout=SOON) as server, connected(server.port) as client:
        client.send(HEAD + head + b"{")
        assert refusal(client) == (408, "request_timeout")
        server.ended()


def test_a_body_that_comes_slowly_but_steadily_is_taken() -> None:
    piece, count = b"x" * MIN_BYTES, 5
    with served(echo, receive_timeout=Duration(1)) as server, connected(server.port) as client:
        client.send(HEAD + b"content-length: %d\r\n\r\n" % (len(piece) * count))
        for _ in range(count):
            # Each brings what a timeout asks for, and all together take longer than one.
            pause(0.3)
            client.send(piece)
        status, headers = client.read_head()
        assert status == 200
        assert client.read(int(headers["content-length"])) == b"%d" % (len(piece) * count)


def test_the_rest_of_a_body_that_was_refused_is_not_waited_for() -> None:
    with served(refuse, receive_timeout=SOON) as server, connected(server.port) as client:
        client.send(HEAD + b"content-length: 9999999\r\n\r\n{")
        assert client.read_head()[0] == 401
        assert client.read(1) == b""


def test_an_idle_connection_is_closed_after_its_time_and_not_before() -> None:
    settings = {"receive_timeout": SOON, "keep_alive_timeout": Duration(0.6)}
    with served(echo, **settings) as server, connected(server.port) as client:
        for _ in range(2):
            client.send(HEAD + b"content-length: 1\r\n\r\n{")
            _, headers = client.read_head()
            assert client.read(int(headers["content-length"])) == b"1"
            pause(0.3)  # longer than a request may take
        assert client.read(1) == b""


def test_a_request_may_come_byte_by_byte() -> None:
    with served(echo, receive_timeout=LATE) as server, connected(server.port) as client:
        for byte in HEAD + b"content-length: 3\r\n\r\nabc":
            client.send(bytes([byte]))
        status, headers = client.read_head()
        assert (status, client.read(int(headers["content-length"]))) == (200, b"3")


def test_what_is_no_http_is_a_400_in_our_shape() -> None:
    with served(echo) as server, connected(server.port) as client:
        client.send(b"hello\r\n\r\n")
        assert refusal(client) == (400, "invalid_request")


def test_a_request_under_way_is_not_cut_by_the_beginning_of_the_next() -> None:
    go_on = threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(go_on.wait, PATIENCE)
        await echo(scope, receive, send)

    with served(slow, receive_timeout=SOON) as server, connected(server.port) as client:
        client.send(HEAD + b"content-length: 0\r\n\r\n" + HEAD)
        pause(0.5)
        go_on.set()
        assert client.read_head()[0] == 200


class Endless:
    """An answer without end, and how much of it was asked for."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self.closed = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = EventStreamResponse(self._source(), self.closed.set, ping_interval=0.05)
        await response(scope, receive, send)

    async def _source(self) -> Any:
        chunk = b"data: %s\n\n" % (b"x" * 1000)
        while True:
            self.num_bytes += len(chunk)
            yield chunk
            await asyncio.sleep(0)


def test_a_reader_that_stops_ends_its_generation_and_holds_little_meanwhile() -> None:
    stream = Endless()
    with (
        served(stream, send_timeout=SOON) as server,
        connected(server.port, receive_buffer=4096) as client,
    ):
        client.send(HEAD + b"content-length: 0\r\n\r\n")
        client.read_head()
        client.read(100)
        assert stream.closed.wait(PATIENCE), "the generation goes on for ever"
        server.ended()
    # What the sockets, the transport and one chunk hold; not what was generated meanwhile.
    assert stream.num_bytes < 1_000_000


def test_a_byte_a_moment_is_not_reading() -> None:
    stream = Endless()
    with (
        served(stream, send_timeout=SOON) as server,
        connected(server.port, receive_buffer=4096) as client,
    ):
        client.send(HEAD + b"content-length: 0\r\n\r\n")
        while not stream.closed.wait(0.02):
            client.read(1)


def test_a_slow_reader_that_reads_gets_it_all() -> None:
    size = 40 * MIN_BYTES

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"%d" % size)]})  # fmt: skip
        await send({"type": "http.response.body", "body": b"x" * size})

    with (
        served(large, send_timeout=Duration(0.4)) as server,
        connected(server.port, receive_buffer=4096) as client,
    ):
        client.send(HEAD + b"content-length: 0\r\n\r\n")
        client.read_head()
        for _ in range(10):
            pause(0.1)
            assert len(client.read(size // 10)) == size // 10


def test_without_timeouts_nothing_is_cut() -> None:
    off = {"receive_timeout": Duration(0), "send_timeout": Duration(0)}
    stream = Endless()
    with served(stream, **off) as server, connected(server.port, receive_buffer=4096) as client:
        client.send(HEAD)
        client.send(b"content-length: 0\r\n\r\n")
        client.read_head()
        assert not stream.closed.wait(0.5)
