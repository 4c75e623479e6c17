"""A client that sees the bytes, and that can go away at any moment."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from live import PATIENCE


class RawClient:
    """One HTTP/1.1 connection."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        self._file: BinaryIO = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def post(self, path: str, body: dict[str, Any] | bytes) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n"
        self.send(head.encode() + data)

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Status and headers."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def chunks(self) -> Iterator[bytes]:
        """The body's chunks, as the server cut them; ends after the last one."""
        while size := int(self._file.readline(), 16):
            yield self._file.read(size)
            self._file.readline()
        self._file.readline()

    def close(self) -> None:
        """Go away, with whatever was not read: the server gets a reset or an end of file."""
        self._file.close()
        self._socket.close()


@contextmanager
def connected(port: int, *, receive_buffer: int | None = None) -> Iterator[RawClient]:
    client = RawClient(port, receive_buffer=receive_buffer)
    try:
        yield client
    finally:
        client.close()


def data_lines(body: bytes) -> list[str]:
    """What stands behind `data: ` in each event."""
    lines = body.decode().split("\n\n")
    assert lines.pop() == "", "the last event is not ended"
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def text_of(body: bytes) -> str:
    """The text of a streamed text completion."""
    *chunks, done = data_lines(body)
    assert done == "[DONE]"
    return "".join(json.loads(chunk)["choices"][0]["text"] for chunk in chunks)
