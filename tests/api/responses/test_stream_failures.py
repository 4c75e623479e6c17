"""Streams of responses that begin before the model is there, and end badly."""

from __future__ import annotations

from typing import Any

import pytest
from api.raw_client import connected
from fake_server import FakeServer, fake_serving
from response_events import check_stream

from llmd.config.settings import ServerSettings
from llmd.errors import LlmdError, ModelLoadError

EARLY = ServerSettings(sse_ping_interval=0.05)
ASK: dict[str, Any] = {"input": "hello", "stream": True, "max_output_tokens": 5}


def stream_of(server: FakeServer, ask: dict[str, Any]) -> bytes:
    """The bytes of a stream that begins while the model still loads."""
    with connected(server.live.port) as client:
        client.post("/v1/responses", ask)
        assert client.read_head()[0] == 200
        chunks = client.chunks()
        raw = next(chunks)
        assert raw == b": ping\n\n"
        server.instance.may_load.set()
        return raw + b"".join(chunks)


def test_a_stream_that_waits_for_the_model_is_whole() -> None:
    with fake_serving(EARLY, may_load=False) as server:
        assert check_stream(stream_of(server, ASK))["status"] == "incomplete"


@pytest.mark.parametrize(
    ("ask", "load_error", "code"),
    [
        (ASK, ModelLoadError("no such model. Get one."), "server_error"),
        ({**ASK, "input": "x" * 100}, None, "invalid_prompt"),
    ],
)
def test_what_fails_late_is_told_by_the_grammar(
    ask: dict[str, Any], load_error: LlmdError | None, code: str
) -> None:
    with fake_serving(EARLY, num_cells=64, may_load=False, load_error=load_error) as server:
        failed = check_stream(stream_of(server, ask))
    assert (failed["status"], failed["error"]["code"]) == ("failed", code)


def test_a_response_that_failed_is_not_stored() -> None:
    with fake_serving(EARLY, num_cells=64, may_load=False) as server:
        failed = check_stream(stream_of(server, {**ASK, "input": "x" * 100}))
        with server.live.client() as client:
            assert client.get(f"/v1/responses/{failed['id']}").status_code == 404


def test_a_newer_request_of_its_session_ends_a_response() -> None:
    with fake_serving() as server:
        server.runner.hold_next()
        with connected(server.live.port) as older, connected(server.live.port) as newer:
            older.post("/v1/responses", {**ASK, "session": "s", "max_output_tokens": 100_000})
            server.runner.wait_until_held()
            newer.post("/v1/responses", {**ASK, "session": "s"})
            server.watch.wait("forgotten")
            server.runner.release()
            ends = []
            for client in (older, newer):
                client.read_head()
                ends.append(check_stream(b"".join(client.chunks()))["status"])
    assert ends == ["failed", "incomplete"]
