"""An editor's newer request ends its older one, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from api.raw_client import RawClient, connected
from fake_server import FakeServer, fake_serving, says

MESSAGES = [{"role": "user", "content": "hello"}]
OLDER = {"prompt": "older", "messages": MESSAGES, "max_tokens": -1}
NEWER = {"prompt": "newer", "messages": MESSAGES, "max_tokens": 3}
ROUTES = ["/v1/completions", "/completion", "/v1/chat/completions"]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_serving() as server:
        yield server


def post(client: RawClient, path: str, body: dict[str, Any], **headers: str) -> None:
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    client.send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def whole(client: RawClient) -> tuple[int, Any]:
    status, headers = client.read_head()
    return status, json.loads(client.read(int(headers["content-length"])))


@pytest.mark.parametrize("path", ROUTES)
def test_a_newer_request_of_a_session_ends_the_older(server: FakeServer, path: str) -> None:
    with connected(server.live.port) as older, connected(server.live.port) as newer:
        post(older, path, OLDER, x_llmd_session="editor 1")
        server.watch.wait("added")
        post(newer, path, NEWER | {"session": "editor 1"})
        status, error = whole(older)
        assert (status, error["error"]["code"]) == (400, "superseded")
        status, answer = whole(newer)
        assert status == 200
        if path != "/v1/chat/completions":
            text = answer.get("content") or answer["choices"][0]["text"]
            assert text == says("newer", 3)
        server.watch.wait("aborted")


@pytest.mark.parametrize("path", ROUTES)
def test_a_stream_that_is_superseded_ends_with_the_error(server: FakeServer, path: str) -> None:
    with connected(server.live.port) as older, connected(server.live.port) as newer:
        post(older, path, OLDER | {"stream": True, "session": "e"})
        assert older.read_head()[0] == 200
        chunks = older.chunks()
        assert b"data: " in next(chunks)
        post(newer, path, NEWER | {"session": "e"})
        assert b'"superseded"' in b"".join(chunks)
        assert whole(newer)[0] == 200


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"x_llmd_session": "a"}, {"x_llmd_session": "b"}),
        ({}, {}),
        ({"x_llmd_session": "a"}, {}),
        (
            {"x_llmd_session": "a", "authorization": "Bearer one"},
            {"x_llmd_session": "a", "authorization": "Bearer two"},
        ),
    ],
)
def test_others_are_left_alone(
    server: FakeServer, first: dict[str, str], second: dict[str, str]
) -> None:
    with connected(server.live.port) as older, connected(server.live.port) as newer:
        post(older, "/completion", OLDER | {"max_tokens": 300}, **first)
        server.watch.wait("added")
        post(newer, "/completion", NEWER, **second)
        assert whole(newer)[0] == 200
        status, answer = whole(older)
        assert (status, answer["content"]) == (200, says("older", 300))


def test_a_request_that_has_not_begun_is_superseded_as_well() -> None:
    with fake_serving(may_load=False) as server:
        with connected(server.live.port) as older, connected(server.live.port) as newer:
            post(older, "/completion", OLDER | {"session": "e"})
            server.watch.wait("asked")
            post(newer, "/completion", NEWER | {"session": "e"})
            server.watch.wait("asked")
            server.instance.may_load.set()
            assert whole(older)[1]["error"]["code"] == "superseded"
            assert whole(newer)[1]["content"] == says("newer", 3)


def test_an_answer_that_is_complete_is_not_taken_back(server: FakeServer) -> None:
    with connected(server.live.port) as client:
        for _ in range(3):
            post(client, "/completion", NEWER | {"session": "e"})
            assert whole(client)[1]["content"] == says("newer", 3)
