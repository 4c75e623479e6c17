"""An OpenAI-compatible server whose answers a test makes up: no model, no llmd."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from connection import Address

Body = dict[str, Any]
Answer = Callable[[Body], tuple[int, bytes] | AsyncIterator[bytes]]
"""A status and a whole body; or a stream, which ends early when its client has gone."""


@asynccontextmanager
async def canned_serving(answer: Answer) -> AsyncIterator[Address]:
    """Serve what `answer` makes of each request's JSON body."""
    handlers: list[asyncio.Task[Any] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"Content-Length: ")[1])
                made = answer(json.loads(await reader.readexactly(length)))
                if not isinstance(made, tuple):
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                    async for piece in made:
                        writer.write(piece)
                        await writer.drain()
                    break
                status, body = made
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
                writer.write(body)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1], "")
        # Each handler ends when its client has closed.
        await asyncio.gather(*filter(None, handlers))


def event(data: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(data).encode()


def text_event(text: str) -> bytes:
    return event({"choices": [{"delta": {"content": text}}]})


def usage_event(num_prompt: int, num_output: int) -> bytes:
    usage = {"prompt_tokens": num_prompt, "completion_tokens": num_output}
    return event({"choices": [], "usage": usage})
