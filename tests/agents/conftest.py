"""What the tests of agent libraries share: a served model, its wire, and tools that count."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from agent_tools import Tools
from live import LiveServer
from wire import Wire

QUIET = {
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "OTEL_SDK_DISABLED": "true",
}
"""Switches that keep these libraries from sending anything about their runs."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def _only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which a library reaches for another machine."""
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    tried: list[Any] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            tried.append(address)
            raise ConnectionRefusedError(address)
        connect(self, address)

    def resolve_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in LOOPBACK:
            tried.append(host)
            raise socket.gaierror(host)
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    yield
    assert not tried, tried


@pytest.fixture
def wire(bundled_server: LiveServer) -> Wire:
    return Wire(bundled_server.url)


@pytest.fixture
def tools() -> Tools:
    return Tools()
