"""A running daemon, as the commands see it that talk to one: JSON and event streams over HTTP."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from select import select
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from llmd.errors import ConfigError, DaemonError, DaemonUnreachable

DEFAULT_URL = "http://127.0.0.1:8080"

CONNECT_TIMEOUT = 10.0
"""Seconds in which a daemon must take a connection."""

ANSWER_TIMEOUT = 30.0
"""Seconds in which a daemon must answer a GET, which does no work."""

LOOK_INTERVAL = 0.2
"""Seconds between two looks at something else while an answer is waited for."""

LULL = 0.05
"""Seconds without an event that count as quiet."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon listens: a host and a port, or the path of a Unix socket. `prefix` stands
    before every route, "" or such as "/llm".
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    socket_path: str | None = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Of http://HOST:PORT, https://..., either with a path before the routes (a /v1 at its end
        may be given too), HOST:PORT, or unix:PATH. Raises ConfigError.
        """
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            # People write unix:///run/llmd.sock, the daemon logs unix:/run/llmd.sock.
            path = path.removeprefix("//")
            if not path:
                raise _refuse(url)
            return cls("unix", "localhost", 0, socket_path=path)
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            raise _refuse(url) from None
        well_formed = parts.scheme in _PORTS and parts.hostname and "@" not in parts.netloc
        if not well_formed or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", url):
            raise _refuse(url)
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.scheme, parts.hostname or "", port or _PORTS[parts.scheme], prefix)

    def __str__(self) -> str:
        if self.socket_path is not None:
            return f"unix:{self.socket_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    def connection(self) -> HTTPConnection:
        if self.socket_path is not None:
            return _UnixConnection(self.socket_path)
        kind = HTTPSConnection if self.scheme == "https" else HTTPConnection
        return kind(self.host, self.port, timeout=CONNECT_TIMEOUT)


class Remote:
    """A client of the daemon at one address. Every call has a connection of its own, so a Remote
    holds nothing open and may be used from any thread.

    All of its calls raise DaemonUnreachable when nobody answers there, and DaemonError with the
    daemon's own words when it refuses.
    """

    def __init__(self, address: Address, api_key: str | None = None) -> None:
        self.address = address
        self._headers = {"connection": "close"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"

    @classmethod
    def choose(cls, url: str | None, environ: Mapping[str, str]) -> Remote:
        """The daemon at `url` (the flag --url), else at LLMD_URL, else at the usual address; with
        LLMD_API_KEY as the key. Raises ConfigError.
        """
        chosen = url or environ.get("LLMD_URL") or DEFAULT_URL
        return cls(Address.parse(chosen), environ.get("LLMD_API_KEY"))

    def get(self, path: str, *, timeout: float = ANSWER_TIMEOUT) -> Any:
        """The JSON at `path`, such as /v1/models. `timeout` is in seconds."""
        return self._whole("GET", path, None, timeout)

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        timeout: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Any:
        """The JSON that answers `body`; without `timeout` it may take for ever, as loads do.
        `meanwhile` is called now and then while there is no answer yet.
        """
        return self._whole("POST", path, body, timeout, meanwhile)

    def stream(self, path: str, body: Mapping[str, Any]) -> EventStream:
        """The events that answer `body`. Not sent before the stream is entered."""
        return EventStream(self, path, body)

    def request(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        meanwhile: Callable[[], None] | None = None,
    ) -> HTTPResponse:
        """Send a request on a connected `connection`; its response, once it has a status of 2xx."""
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({} if data is None else {"content-type": "application/json"})
        connection.request(method, self.address.prefix + path, data, headers)
        while meanwhile is not None and not select([connection.sock], [], [], LOOK_INTERVAL)[0]:
            meanwhile()
        response = connection.getresponse()
        if not 200 <= response.status < 300:
            raise self._refused(response)
        return response

    def unreachable(self, error: Exception) -> DaemonUnreachable:
        """What a failure of the connection means to a person."""
        if isinstance(error, ConnectionRefusedError | FileNotFoundError):
            return DaemonUnreachable(
                f"no llmd is running at {self.address}. Start it: llmd serve MODEL"
            )
        if isinstance(error, TimeoutError):
            return DaemonUnreachable(
                f"{self.address} does not answer. Check that it is an llmd, and its log."
            )
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        return DaemonUnreachable(f"cannot talk to {self.address}: {reason}. Check --url.")

    def _whole(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout: float | None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Any:
        connection = self.address.connection()
        try:
            connection.connect()
            connection.sock.settimeout(timeout)
            return json.loads(self.request(connection, method, path, body, meanwhile).read())
        except (OSError, HTTPException) as error:
            raise self.unreachable(error) from error
        except ValueError as error:
            raise DaemonError(
                f"{self.address} answers no JSON. Check that it is an llmd."
            ) from error
        finally:
            connection.close()

    def _refused(self, response: HTTPResponse) -> DaemonError:
        told: Any = None
        try:
            told = json.loads(response.read())["error"]
            message, code = told["message"], told.get("code")
        except (ValueError, LookupError, TypeError, AttributeError):
            # Not an llmd, or a proxy before it; some servers tell a bare text.
            message = told if isinstance(told, str) else f"it answers HTTP {response.status}"
            message, code = f"{self.address}: {message}. Check --url and its log.", None
        if response.status == 401:
            message = f"{message} Set LLMD_API_KEY to a key of {self.address}."
        return DaemonError(str(message), answered=response.status, answered_code=code)


class EventStream:
    """The server-sent events of one answer: a context manager, and an iterator of their JSON.

    `stop` may be called at any time from a signal handler or another thread: the connection ends,
    by which the daemon stops its work, and the iteration with it.
    """

    def __init__(self, remote: Remote, path: str, body: Mapping[str, Any]) -> None:
        self._remote = remote
        self._path = path
        self._body = body
        self._connection = remote.address.connection()
        # The connection lets go of both when the daemon means to close it.
        self._socket: socket.socket | None = None
        self._response: HTTPResponse | None = None
        self.stopped = False

    def __enter__(self) -> EventStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def __iter__(self) -> Iterator[dict[str, Any] | None]:
        """Events up to [DONE]; None for a comment, by which a daemon shows that it lives; an empty
        event where the next one does not come at once, so that what was put off can be done. An
        event that tells an error is raised as DaemonError.
        """
        try:
            self._connection.connect()
            self._socket = self._connection.sock
            self._socket.settimeout(None)
            if self.stopped:
                return
            self._response = self._remote.request(self._connection, "POST", self._path, self._body)
            yield from self._events(self._response)
        except (OSError, HTTPException, ValueError) as error:
            if not self.stopped:
                raise self._remote.unreachable(error) from error

    def stop(self) -> None:
        self.stopped = True
        if self._socket is not None:
            with suppress(OSError):  # it may have ended already
                self._socket.shutdown(socket.SHUT_RDWR)

    def _events(self, response: HTTPResponse) -> Iterator[dict[str, Any] | None]:
        while True:
            if self._is_quiet(response):
                yield {}
            line = response.readline()
            if self.stopped:
                return
            if not line:
                raise ConnectionError("the answer broke off")
            if line.startswith(b":"):
                yield None
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            event: dict[str, Any] = json.loads(data)
            if "error" in event:
                told = event["error"]
                raise DaemonError(str(told["message"]), answered_code=told.get("code"))
            yield event

    def _is_quiet(self, response: HTTPResponse) -> bool:
        """Whether nothing comes for a moment. Of TLS it is not known: it has buffers of its own."""
        connected = self._socket
        if connected is None or response.fp is None or self._remote.address.scheme == "https":
            return False
        connected.setblocking(False)
        try:
            is_here = bool(response.fp.peek(1))
        finally:
            connected.setblocking(True)
        return not is_here and not select([connected], [], [], LULL)[0]


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.settimeout(CONNECT_TIMEOUT)
        try:
            connected.connect(self._path)
        except BaseException:
            connected.close()
            raise
        self.sock = connected


def _refuse(url: str) -> ConfigError:
    return ConfigError(
        f"{url!r} is no address of a daemon. Give one such as {DEFAULT_URL} or "
        f"unix:///run/llmd/llmd.sock."
    )
