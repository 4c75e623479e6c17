from __future__ import annotations

import asyncio

import pytest
from connection import Address, Connection, EventSplitter, Response


def read_body(wire: bytes) -> bytes:
    """The body that a client reads when a server sends `wire` and closes."""

    async def read() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(wire)
        reader.feed_eof()
        head = await reader.readuntil(b"\r\n\r\n")
        owner = Connection(Address("127.0.0.1", 1, ""))
        return await Response.parse(head, owner, reader).read()

    return asyncio.run(read())


def test_only_this_machine_is_an_address() -> None:
    with pytest.raises(ValueError, match="not this machine"):
        Address.parse("http://192.0.2.1:8080")


def test_a_path_in_the_url_comes_before_every_route() -> None:
    assert Address.parse("http://localhost:81/api/") == Address("localhost", 81, "/api")


def test_a_body_of_known_length_is_read() -> None:
    assert read_body(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody") == b"body"


def test_a_chunked_body_is_joined() -> None:
    wire = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
    assert read_body(wire) == b"body"


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    assert read_body(b"HTTP/1.1 200 OK\r\n\r\nbody") == b"body"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_events_are_found_byte_by_byte(end: bytes) -> None:
    wire = b": ping" + 2 * end + b"data: one" + 2 * end + b"event: x" + end + b"data: two" + 2 * end
    splitter = EventSplitter()
    events = [event for byte in wire for event in splitter.feed(bytes([byte]))]
    assert events == [b"one", b"two"]


def test_a_connection_that_the_server_closed_without_a_word_is_opened_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    num_connections = 0

    async def serve_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_connections
        num_connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.readuntil(b"\r\n\r\n")  # the next one, unheard
        writer.close()

    async def ask_three_times() -> list[bytes]:
        server = await asyncio.start_server(serve_once, "127.0.0.1", 0)
        connection = Connection(Address("127.0.0.1", server.sockets[0].getsockname()[1], ""))
        bodies = []
        for _ in range(3):
            response = await connection.request("GET", "/")
            bodies.append(await response.read())
        await connection.close()
        server.close()
        return bodies

    assert asyncio.run(ask_three_times()) == [b"ok"] * 3
    assert num_connections == 3
