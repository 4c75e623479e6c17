"""One line for each request, however it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from access_lines import AccessLines, access_lines
from api.raw_client import connected, data_lines
from fake_server import FakeServer, fake_serving
from live import LiveServer, serving
from zoo.bert import RANK, write_bert

from llmd.api.access_log import AccessLog
from llmd.config.settings import ModelSettings, ServerSettings
from llmd.metrics.metrics import Metrics
from llmd.registry.instance import ModelInstance

CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 6}
ENDLESS = {"prompt": "ggg", "max_tokens": -1}


@pytest.fixture
def lines() -> Iterator[AccessLines]:
    with access_lines() as lines:
        yield lines


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_serving() as server:
        yield server


def test_a_whole_answer_is_told_with_its_numbers(server: FakeServer, lines: AccessLines) -> None:
    with server.live.client() as client:
        answer = client.post("/v1/chat/completions?key=secret", json=CHAT).json()
    line = lines.next()
    assert (line.levelname, line.method, line.path, line.status) == (
        "INFO", "POST", "/v1/chat/completions", 200,
    )  # fmt: skip
    assert (line.model, line.key, line.finish, line.error) == ("fake", None, "length", None)
    assert line.prompt_tokens == answer["usage"]["prompt_tokens"]
    assert line.output_tokens == 6
    assert 0 < line.ttft_ms <= line.duration_ms
    assert answer["id"] == f"chatcmpl-{line.answer_id}"
    assert "secret" not in line.getMessage()
    assert lines.is_empty()


def test_people_read_it_in_one_line(server: FakeServer, lines: AccessLines) -> None:
    with server.live.client() as client:
        client.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "mine"})
    words = lines.next().getMessage().split()
    assert words[:5] == ["POST", "/v1/chat/completions", "200", "fake", "prompt=12"]
    assert words[-2:] == ["length", "id=mine"]
    assert "out=6" in words


def test_the_tokens_of_a_stream_are_those_of_its_usage(
    server: FakeServer, lines: AccessLines
) -> None:
    body = {**CHAT, "n": 3, "stream": True, "stream_options": {"include_usage": True}}
    with connected(server.live.port) as client:
        client.post("/v1/chat/completions", body)
        client.read_head()
        *_, usage, _ = data_lines(b"".join(client.chunks()))
    line = lines.next()
    assert line.output_tokens == 18
    assert f'"completion_tokens":{line.output_tokens},' in usage
    assert f'"prompt_tokens":{line.prompt_tokens},' in usage


@pytest.mark.gguf
def test_what_was_cached_is_told(llama_server: LiveServer, lines: AccessLines) -> None:
    body = {"prompt": "the water is hot and the house is by the sea", "max_tokens": 2}
    with llama_server.client() as client:
        first, second = (client.post("/v1/completions", json=body).json() for _ in range(2))
    details = [each["usage"]["prompt_tokens_details"]["cached_tokens"] for each in (first, second)]
    assert [lines.next().cached_tokens for _ in range(2)] == details
    assert details[1] > 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "route_not_found"),
        ("PUT", "/v1/models", None, 405, "method_not_allowed"),
        ("POST", "/v1/completions", {"prompt": 1.5}, 400, "invalid_request"),
        ("POST", "/v1/embeddings", {"input": "a"}, 400, "unsupported"),
    ],
)
def test_a_refusal_is_told_with_its_code(
    server: FakeServer,
    lines: AccessLines,
    method: str,
    path: str,
    body: Any,
    status: int,
    code: str,
) -> None:
    with server.live.client() as client:
        client.request(method, path, json=body)
    line = lines.next()
    assert (line.levelname, line.status, line.error) == ("INFO", status, code)


@pytest.mark.parametrize("path", ["/health", "/readyz", "/livez", "/v1/health"])
def test_probes_are_told_at_debug(server: FakeServer, lines: AccessLines, path: str) -> None:
    with server.live.client() as client:
        client.get(path)
    assert lines.next().levelno == logging.DEBUG


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_is_told_as_499(lines: AccessLines, stream: bool) -> None:
    with fake_serving() as server:
        with connected(server.live.port) as leaver:
            leaver.post("/v1/completions", {**ENDLESS, "stream": stream})
            server.watch.wait("added")
            if stream:
                leaver.read_head()
                next(leaver.chunks())
        line = lines.next()
    assert (line.status, line.finish, line.error) == (499, None, None)
    assert (line.model, line.prompt_tokens) == ("fake", 3)
    if stream:
        assert line.output_tokens > 0


def test_a_client_that_leaves_in_the_middle_of_its_body_is_told_too(lines: AccessLines) -> None:
    with fake_serving() as server:
        with connected(server.live.port) as leaver:
            leaver.send(
                b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{"
            )
        line = lines.next()
    assert (line.status, line.model, line.prompt_tokens) == (499, None, None)


def test_a_stream_that_fails_after_its_first_byte_tells_its_error(lines: AccessLines) -> None:
    with fake_serving() as server, connected(server.live.port) as client:
        client.post("/v1/completions", {**ENDLESS, "stream": True})
        client.read_head()
        chunks = client.chunks()
        next(chunks)
        server.runner.failure = RuntimeError("out of tea")
        assert b"[DONE]" in list(chunks)[-1]
        line = lines.next()
    assert (line.levelname, line.status, line.error) == ("WARNING", 200, "engine_failed")
    assert line.output_tokens > 0


def test_a_late_refusal_in_a_stream_tells_its_error(lines: AccessLines) -> None:
    settings = ServerSettings(sse_ping_interval=0.05)
    with fake_serving(settings, may_load=False) as server, connected(server.live.port) as client:
        client.post("/v1/completions", {"prompt": "a", "logit_bias": {"9999": 1}, "stream": True})
        client.read_head()
        server.instance.may_load.set()
        assert b"".join(client.chunks()).endswith(b"[DONE]\n\n")
        line = lines.next()
    assert (line.status, line.model, line.error) == (200, "fake", "invalid_request")


def test_a_crash_is_told_once_and_explained_once(
    lines: AccessLines, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(num_sequences: int) -> None:
        raise RuntimeError("out of tea")

    with fake_serving() as server, server.live.client() as client:
        server.instance.client.check_room = crash  # type: ignore[method-assign]
        answer = client.post("/v1/completions", json=CHAT | {"prompt": "a"})
        line = lines.next()
    assert answer.status_code == 500 and answer.json()["error"]["code"] == "engine_failed"
    assert (line.levelname, line.status, line.error) == ("WARNING", 500, "engine_failed")
    assert [record.name for record in caplog.records if record.exc_info] == ["llmd.api"]


def test_a_background_response_has_a_line_of_its_own_under_the_same_id(
    server: FakeServer, lines: AccessLines
) -> None:
    body = {"input": "hello", "background": True, "max_output_tokens": 4}
    with server.live.client() as client:
        id_ = client.post("/v1/responses", json=body, headers={"x-request-id": "bg"}).json()["id"]
    request, work = sorted(
        (lines.next() for _ in range(2)), key=lambda line: line.method == "BACKGROUND"
    )
    assert (request.method, request.path, request.status) == ("POST", "/v1/responses", 200)
    assert (work.path, work.status, work.finish) == (f"/v1/responses/{id_}", 200, "length")
    assert (request.output_tokens, work.output_tokens) == (None, 4)
    assert request.request_id == work.request_id == "bg"


def test_a_background_response_that_fails_tells_its_error(lines: AccessLines) -> None:
    body = {"input": "hello", "background": True, "logit_bias": {"9999": 1}}
    with fake_serving() as server, server.live.client() as client:
        client.post("/v1/responses", json=body)
        found = {line.method: line for line in (lines.next(), lines.next())}
    assert (found["BACKGROUND"].status, found["BACKGROUND"].error) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("is_wish", "status", "error"), [(True, 499, None), (False, 503, "draining")]
)
def test_a_background_response_that_is_ended_tells_by_whom(
    lines: AccessLines, is_wish: bool, status: int, error: str | None
) -> None:
    body = {"input": "hello", "background": True}
    with fake_serving() as server:
        with server.live.client() as client:
            id_ = client.post("/v1/responses", json=body).json()["id"]
            assert lines.next().method == "POST"
            if is_wish:
                client.post(f"/v1/responses/{id_}/cancel")
    line = lines.next()
    assert (line.method, line.status, line.error) == ("BACKGROUND", status, error)


def test_a_request_that_the_daemons_end_cuts_off_is_answered_and_told(lines: AccessLines) -> None:
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/slow",
        "headers": [],
        "app": SimpleNamespace(
            state=SimpleNamespace(llmd=SimpleNamespace(recordings=Off(), metrics=Metrics()))
        ),
    }

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        task = asyncio.ensure_future(AccessLog(slow)(scope, nothing, send))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(main())
    assert sent[0]["status"] == 503 and b"draining" in sent[1]["body"]
    line = lines.next()
    assert (line.status, line.error) == (503, "draining")


class Off:
    is_on = False


async def nothing() -> Any:
    raise AssertionError("nobody asks")


@pytest.mark.gguf
def test_embedded_tokens_are_told(tmp_path: Path, lines: AccessLines) -> None:
    path = write_bert(tmp_path / "bert.gguf", context_length=128)
    settings = ModelSettings(threads=1)
    with serving(lambda: ModelInstance("tiny-bert", path, settings)) as live:
        with live.client() as client:
            usage = client.post("/v1/embeddings", json={"input": "the water"}).json()["usage"]
    line = lines.next()
    assert (line.model, line.prompt_tokens) == ("tiny-bert", usage["prompt_tokens"])
    assert (line.ttft_ms, line.finish) == (None, None)
    assert "out=" not in line.getMessage()


@pytest.mark.gguf
def test_ranked_tokens_are_told(tmp_path: Path, lines: AccessLines) -> None:
    path = write_bert(tmp_path / "bert.gguf", pooling=RANK, with_head=True, context_length=128)
    settings = ModelSettings(threads=1)
    with serving(lambda: ModelInstance("ranker", path, settings)) as live:
        with live.client() as client:
            body = {"query": "water", "documents": ["the sea", "a house"]}
            answer = client.post("/v1/rerank", json=body).json()
    line = lines.next()
    assert (line.model, line.prompt_tokens) == ("ranker", answer["usage"]["prompt_tokens"])


def test_a_long_path_is_cut(server: FakeServer, lines: AccessLines) -> None:
    with server.live.client() as client:
        client.get("/" + "x" * 5000)
    assert len(lines.next().path) == 200
