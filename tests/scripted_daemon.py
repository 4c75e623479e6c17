"""A daemon whose answers a test writes down beforehand, in a thread; it keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 30.0
"""Seconds after which something that must happen counts as never happening."""


def text(content: str) -> dict[str, Any]:
    return delta(content=content)


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def end(reason: str = "stop", **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **fields}


class Endless:
    """An answer that goes on until its reader leaves, which sets `left`."""

    def __init__(self, begin: str) -> None:
        self.begin = begin
        self.left = threading.Event()
        self.go_on: Callable[[str], None]
        """Sends more of it, once it has begun."""


Answer = list[dict[str, Any]] | tuple[int, dict[str, Any]] | Endless
"""The events of a stream, or a status and an error object."""


class ScriptedDaemon:
    """`asked` has the bodies of the chat requests."""

    def __init__(self, answers: list[Answer], model: dict[str, Any]) -> None:
        self.answers = answers
        self.model = model
        self.asked: list[dict[str, Any]] = []
        self.url = ""


@contextmanager
def scripted_daemon(*answers: Answer, **model: Any) -> Iterator[ScriptedDaemon]:
    """Serve a model, `model` of it as told, until the block ends: the n-th request gets the n-th
    answer.
    """
    daemon = ScriptedDaemon(list(answers), {"id": "scripted", "owned_by": "llmd", **model})

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._send(200, {"data": [daemon.model]})

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            daemon.asked.append(json.loads(self.rfile.read(length)))
            answer = daemon.answers[len(daemon.asked) - 1]
            if isinstance(answer, tuple):
                status, error = answer
                self._send(status, {"error": error})
                return
            self.send_response(200)
            self.end_headers()
            if isinstance(answer, Endless):
                answer.go_on = lambda more: self._send_event(text(more))
                answer.go_on(answer.begin)
                self.connection.settimeout(PATIENCE)
                # A client sends nothing more: what comes is the end of its connection.
                if self.rfile.read(1) == b"":
                    answer.left.set()
                return
            for event in answer:
                self._send_event(event)
            self.wfile.write(b"data: [DONE]\n\n")

        def _send_event(self, event: dict[str, Any]) -> None:
            self.wfile.write(b"data: %b\n\n" % json.dumps(event).encode())

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    daemon.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield daemon
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
