"""A minimal HTTP/1.1 client for one loopback server, cheap enough to share its cores.

It reads what such servers send and no more: a status line, headers, and a body that is framed by
Content-Length, by chunks (RFC 9112, section 7.1) or by the end of the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, with the path that its routes begin with."""

    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """ValueError unless `url` is http on this machine: the load is meant for no one else."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in LOOPBACK:
            raise ValueError(f"{url} is not this machine; give a URL such as http://127.0.0.1:8080")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/"))


class Connection:
    """One connection, used for one request after the other; opened again where it was closed."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def request(self, method: str, path: str, body: bytes = b"") -> Response:
        """Send a request and read the head of its answer. OSError or EOFError where that fails.

        The answer's body must be read to its end before the next request, or `close` called.
        """
        data = (
            f"{method} {self._address.prefix}{path} HTTP/1.1\r\n"
            f"Host: {self._address.host}:{self._address.port}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        if self._reader is not None and not self._reader.at_eof():
            try:
                return await self._exchange(data)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                # Servers close connections after a number of requests, and some do not say so.
                if getattr(error, "partial", b""):
                    raise
        await self.close()
        self._reader, self._writer = await asyncio.open_connection(
            self._address.host, self._address.port
        )
        return await self._exchange(data)

    async def _exchange(self, data: bytes) -> Response:
        assert self._reader is not None and self._writer is not None
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        return Response.parse(head, self, self._reader)


class Response:
    """The status of an answer, and its body as it arrives."""

    def __init__(
        self, status: int, headers: dict[str, str], owner: Connection, reader: asyncio.StreamReader
    ) -> None:
        self.status = status
        self._headers = headers
        self._owner = owner
        self._reader = reader

    @classmethod
    def parse(cls, head: bytes, owner: Connection, reader: asyncio.StreamReader) -> Response:
        status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return cls(int(status_line.split(" ", 2)[1]), headers, owner, reader)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in the pieces that arrive; closes the connection where the server will."""
        if "chunked" in self._headers.get("transfer-encoding", "").lower():
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass
        elif "content-length" in self._headers:
            yield await self._reader.readexactly(int(self._headers["content-length"]))
        else:
            while piece := await self._reader.read(65536):
                yield piece
            await self._owner.close()
        if self._headers.get("connection", "").lower() == "close":
            await self._owner.close()

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.stream()])


class EventSplitter:
    """Server-sent events out of the bytes of a stream (WHATWG HTML, section 9.2)."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that `piece` completes; comments and other fields are dropped."""
        # Joined first: a line's end may be cut in two.
        text = (self._pending + piece).replace(b"\r\n", b"\n")
        *blocks, self._pending = text.split(b"\n\n")
        events = []
        for block in blocks:
            data = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
            if data:
                events.append(b"\n".join(data))
        return events
