"""The client of a running daemon, against real ones and against what is none."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live import LiveServer

from llmd.cli.remote import Address, Remote
from llmd.errors import ConfigError, DaemonError, DaemonUnreachable

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello! Who are you?"}], "stream": True}


def read_request(connected: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connected.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while found and len(body) < int(found[1]):
        body += connected.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def answering(listener: socket.socket, answer: bytes) -> Iterator[list[bytes]]:
    """Answers one connection with these bytes; yields what was asked, once the block ends."""
    asked: list[bytes] = []

    def serve() -> None:
        connected, _ = listener.accept()
        with connected:
            asked.append(read_request(connected))
            connected.sendall(answer)

    with listener:
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)
        assert not thread.is_alive()


def answer(status: int, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (status, headers, len(body), body)


def loopback() -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


def remote(url: str, **environ: str) -> Remote:
    return Remote.choose(url, environ)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:9000", "http://localhost:9000"),
        ("http://box", "http://box:80"),
        ("https://box/llm/", "https://box:443/llm"),
        ("http://box:1/v1/", "http://box:1"),
        ("http://box:1/llm/v1", "http://box:1/llm"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("unix:///run/llmd.sock", "unix:/run/llmd.sock"),
        ("unix:/run/llmd.sock", "unix:/run/llmd.sock"),
        ("unix:here.sock", "unix:here.sock"),
    ],
)
def test_an_address_is_read_as_people_write_it(url: str, shown: str) -> None:
    assert str(Address.parse(url)) == shown


@pytest.mark.parametrize(
    "url",
    ["ftp://box", "http://", "http://box:port", "http://me@box", "unix:", "http://a b", "a?b"],
)
def test_what_is_no_address_is_refused_with_one_that_is(url: str) -> None:
    with pytest.raises(ConfigError, match="Give one such as http://127.0.0.1:8080 or unix:///"):
        Address.parse(url)


def test_the_flag_wins_over_the_environment_and_that_over_the_usual_address() -> None:
    environ = {"LLMD_URL": "http://b:2"}
    assert str(Remote.choose("http://a:1", environ).address) == "http://a:1"
    assert str(Remote.choose(None, environ).address) == "http://b:2"
    assert str(Remote.choose(None, {}).address) == "http://127.0.0.1:8080"


@pytest.mark.gguf
def test_models_are_asked_for_and_an_answer_is_streamed(bundled_server: LiveServer) -> None:
    daemon = remote(bundled_server.url)
    assert daemon.get("/v1/models")["data"][0]["id"] == "tiny"
    with daemon.stream(CHAT, HELLO) as stream:
        deltas = [event["choices"][0]["delta"] for event in stream if event]
    assert deltas[0]["role"] == "assistant"
    assert "tiny" in "".join(delta.get("content", "") for delta in deltas)


@pytest.mark.gguf
def test_a_refusal_is_told_in_the_daemons_own_words(bundled_server: LiveServer) -> None:
    daemon = remote(bundled_server.url)
    with pytest.raises(DaemonError, match="'temperature' is not valid") as refused:
        daemon.post(CHAT, {"messages": HELLO["messages"], "temperature": "hot"})
    assert (refused.value.answered, refused.value.answered_code) == (400, "invalid_request")
    with daemon.stream(CHAT, {**HELLO, "messages": []}) as stream:
        with pytest.raises(DaemonError, match="messages"):
            list(stream)


@pytest.mark.gguf
def test_a_stopped_stream_ends_at_once_and_without_an_error(bundled_server: LiveServer) -> None:
    endless = {**HELLO, "ignore_eos": True, "max_tokens": -1}
    with remote(bundled_server.url).stream(CHAT, endless) as stream:
        events = iter(stream)
        next(events)
        stream.stop()
        assert list(events) == []


def test_the_key_and_the_prefix_go_with_the_request() -> None:
    listener, url = loopback()
    with answering(listener, answer(200, b"{}")) as asked:
        remote(f"{url}/llm/v1", LLMD_API_KEY="secret").post("/v1/models/load", {"model": "é"})
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /llm/v1/models/load HTTP/1.1\r\n")
    assert b"authorization: Bearer secret" in head
    assert json.loads(body) == {"model": "é"}


def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    with answering(listener, answer(200, b'{"data": []}')):
        assert remote(f"unix://{tmp_path}/s").get("/v1/models") == {"data": []}


def test_nobody_there_says_how_to_start_one(tmp_path: Path) -> None:
    listener, url = loopback()
    listener.close()
    for where in (url, f"unix:{tmp_path}/none"):
        with pytest.raises(DaemonUnreachable, match=r"no llmd is running at .*llmd serve MODEL"):
            remote(where).get("/v1/models")
    with remote(url).stream(CHAT, HELLO) as stream:
        with pytest.raises(DaemonUnreachable, match="no llmd is running"):
            list(stream)


def test_a_lull_is_an_empty_event() -> None:
    head = b"HTTP/1.1 200 X\r\n\r\n"
    listener, url = loopback()
    go_on = threading.Event()

    def serve() -> None:
        connected, _ = listener.accept()
        with connected:
            read_request(connected)
            connected.sendall(head + b'data: {"a": 1}\n\ndata: {"a": 2}\n\n')
            assert go_on.wait(10)
            connected.sendall(b"data: [DONE]\n\n")

    with listener:
        thread = threading.Thread(target=serve)
        thread.start()
        with remote(url).stream(CHAT, HELLO) as stream:
            events = iter(stream)
            came = [next(events)]
            while {"a": 2} not in came or came[-1] != {}:
                came.append(next(events))
            assert [event for event in came if event] == [{"a": 1}, {"a": 2}]
            go_on.set()
            assert list(events) == []
        thread.join(10)


def test_one_that_never_answers_is_given_up() -> None:
    listener, url = loopback()
    with listener, pytest.raises(DaemonUnreachable, match="does not answer"):
        remote(url).get("/v1/models", timeout=0.05)


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (answer(502, b"<html>"), "it answers HTTP 502. Check --url"),
        (answer(404, b'{"error": "no such route"}'), "no such route. Check --url"),
        (answer(200, b"hello"), "answers no JSON"),
        (answer(401, b'{"error": {"message": "who?", "code": null}}'), "who? Set LLMD_API_KEY"),
    ],
)  # fmt: skip
def test_what_is_no_llmd_is_told_as_such(answered: bytes, words: str) -> None:
    listener, url = loopback()
    with answering(listener, answered), pytest.raises(DaemonError) as told:
        remote(url).get("/v1/models")
    assert words in told.value.message


@pytest.mark.parametrize("sent", [b"", b"garbage\r\n\r\n"])
def test_a_broken_answer_is_one_line(sent: bytes) -> None:
    listener, url = loopback()
    with answering(listener, sent), pytest.raises(DaemonUnreachable, match="cannot talk to"):
        remote(url).get("/v1/models")


def test_a_stream_tells_comments_errors_and_a_broken_end() -> None:
    head = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n"
    listener, url = loopback()
    with answering(listener, head + b': ping\n\ndata: {"a": 1}\n\n'):
        with remote(url).stream(CHAT, HELLO) as stream:
            events = iter(stream)
            assert (next(events), next(events)) == (None, {"a": 1})
            with pytest.raises(DaemonUnreachable, match="the answer broke off"):
                next(events)
    listener, url = loopback()
    with answering(listener, head + b'data: {"error": {"message": "it failed."}}\n\n'):
        with remote(url).stream(CHAT, HELLO) as stream, pytest.raises(DaemonError) as told:
            list(stream)
    assert told.value.message == "it failed."
