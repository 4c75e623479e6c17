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
