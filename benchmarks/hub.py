"""A small Hugging Face hub on this machine: the routes that the real client asks for, and the ways
in which hubs and networks fail.
"""

from __future__ import annotations

import hashlib
import json
import re
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class HubRepo:
    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=lambda: {"license": "apache-2.0"})
    tags: list[str] = field(default_factory=list)
    token: str | None = None
    """Who has another one sees nothing: the repository is private."""
    gated: bool = False
    commit: str = COMMIT


@dataclass
class LocalHub:
    """What a hub serves, and how it behaves; a test changes both as it goes."""

    endpoint: str = ""
    repos: dict[str, HubRepo] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """The statuses of the next answers with a file's bytes; then 200 and 206."""
    lengths: list[int] = field(default_factory=list)
    """How many bytes the next such answers have before they break off."""
    status: int = 0
    """Of every answer, where it is set."""
    page: str = ""
    """The body of every answer, where there is one: a login page before the network, say."""
    knows_ranges: bool = True
    lists_checksums: bool = True
    corrupts: bool = False
    pause_at: int | None = None
    """The byte of each file at which the hub waits until `go` is set."""
    paused: Event = field(default_factory=Event)
    go: Event = field(default_factory=Event)
    num_sent: int = 0
    """Bytes of files that left."""

    def add(self, name: str, files: dict[str, bytes]) -> HubRepo:
        repo = self.repos[name] = HubRepo(files)
        return repo

    def asked_for(self, part: str) -> list[Request]:
        return [request for request in self.requests if part in request.path]


@lru_cache(maxsize=64)
def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@lru_cache(maxsize=64)
def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def hub_serving() -> Iterator[LocalHub]:
    hub = LocalHub()

    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read what was asked for in `requests`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, path, headers))
        if self.hub.page:
            return self._send_bytes(200, self.hub.page.encode(), {})
        if self.hub.status:
            return self._send(self.hub.status, {"error": "as the test wants it"})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/main)?", path):
            return self._list(match[1])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/.+", path):
            return self._tree(match[1])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(match[1], match[3])
        if match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            return self._file(self.hub.repos[match[1]].files[match[2]])
        return self._send(404, {"error": "no such route"})

    def _repo(self, name: str) -> HubRepo | None:
        """None after an answer that says why not."""
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        found = {known.lower(): repo for known, repo in self.hub.repos.items()}.get(name.lower())
        if token == "invalid":
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._send(401, {"error": "Invalid credentials"}, message)
        elif found is None or (found.token and token != found.token):
            status = 404 if token else 401
            self._send(status, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        else:
            return found
        return None

    def _list(self, name: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        (canonical,) = [known for known in self.hub.repos if known.lower() == name.lower()]
        self._send(
            200,
            {
                "id": canonical,
                "sha": repo.commit,
                "cardData": repo.card,
                "tags": repo.tags,
                "siblings": [self._sibling(path, data) for path, data in repo.files.items()],
            },
        )

    def _tree(self, name: str) -> None:
        """What snapshot_download asks for."""
        repo = self._repo(name)
        if repo is None:
            return
        entries = []
        for path, data in repo.files.items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": git_id(data)}
            lfs = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
            entries.append(entry | ({"lfs": lfs} if path.endswith(".gguf") else {}))
        self._send(200, entries)

    def _sibling(self, path: str, data: bytes) -> dict[str, Any]:
        if not self.hub.lists_checksums:
            return {"rfilename": path}
        sibling: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_id(data)}
        if path.endswith(".gguf"):
            sibling["lfs"] = {"size": len(data), "sha256": sha256(data), "pointerSize": 130}
        return sibling

    def _resolve(self, name: str, path: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        if repo.gated and not self.headers.get("authorization"):
            return self._send(401, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        if path not in repo.files:
            return self._send(404, {"error": "gone"}, {"X-Error-Code": "EntryNotFound"})
        data = repo.files[path]
        # Another host, as a CDN has: the client must not send its token there.
        cdn = self.hub.endpoint.replace("127.0.0.1", "localhost")
        return self._send(
            302,
            {},
            {
                "Location": f"{cdn}/cdn/{name}/{path}",
                "X-Repo-Commit": repo.commit,
                "X-Linked-Etag": f'"{sha256(data)}"',
                "X-Linked-Size": str(len(data)),
            },
        )

    def _file(self, data: bytes) -> None:
        if self.hub.statuses and (status := self.hub.statuses.pop(0)) >= 400:
            return self._send(status, {"error": "as the test wants it"})
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if match and self.hub.knows_ranges:
            start = int(match[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if self.hub.lengths:
            end = min(end, start + self.hub.lengths.pop(0))
            self.close_connection = True
        if self.hub.corrupts:
            data = data[:-1] + bytes([data[-1] ^ 1])
        try:
            self._write(data, start, end)
        except ConnectionError:
            # The client has gone, or was killed.
            self.close_connection = True

    def _write(self, data: bytes, start: int, end: int) -> None:
        pause = self.hub.pause_at
        if pause is not None and start < pause < end:
            self._write(data, start, pause)
            self.hub.paused.set()
            self.hub.go.wait()
            if self._client_has_gone():
                raise ConnectionResetError
            start = pause
        # Counted before the client can have them, as it may be asked for the number at once.
        self.hub.num_sent += end - start
        try:
            self.wfile.write(memoryview(data)[start:end])
        except OSError:
            self.hub.num_sent -= end - start
            raise

    def _client_has_gone(self) -> bool:
        """What is written to one that has gone would count as sent, as long as buffers last."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"}
        self._send_bytes(status, json.dumps(body).encode(), kind | (headers or {}))

    def _send_bytes(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
