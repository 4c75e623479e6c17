"""The bytes of a chat stream, chunk by chunk: what SDKs' accumulators rely on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from api.raw_client import connected, data_lines
from fake_server import FakeServer, fake_serving, says
from fakes import END

HELLO = {"messages": [{"role": "user", "content": "hello"}], "stream": True, "max_tokens": 6}
ANSWER = says("[user]hello>", 6)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_serving() as server:
        yield server


def raw(server: FakeServer, **fields: Any) -> bytes:
    with connected(server.live.port) as client:
        client.post("/v1/chat/completions", {**HELLO, **fields})
        status, headers = client.read_head()
        assert status == 200
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-cache"
        return b"".join(client.chunks())


def chunks(server: FakeServer, **fields: Any) -> list[dict[str, Any]]:
    *lines, done = data_lines(raw(server, **fields))
    assert done == "[DONE]"
    return [json.loads(line) for line in lines]


def test_events_are_framed_with_line_feeds_alone(server: FakeServer) -> None:
    body = raw(server)
    assert b"\r" not in body
    assert body.endswith(b"\n\ndata: [DONE]\n\n")
    assert all(event.startswith(b"data: ") and b"\n" not in event
               for event in body.removesuffix(b"\n\n").split(b"\n\n"))  # fmt: skip


def test_every_chunk_carries_the_same_head(server: FakeServer) -> None:
    found = chunks(server, stream_options={"include_usage": True})
    names = ("id", "created", "model", "object", "system_fingerprint")
    heads = {tuple(chunk[name] for name in names) for chunk in found}
    ((id, created, model, kind, fingerprint),) = heads
    assert id.startswith("chatcmpl-") and type(created) is int
    assert (model, kind, fingerprint) == ("fake", "chat.completion.chunk", "fake")


def test_the_role_comes_first_once_with_empty_content(server: FakeServer) -> None:
    first, *later = [chunk["choices"][0]["delta"] for chunk in chunks(server)]
    assert first == {"role": "assistant", "content": ""}
    assert all("role" not in delta for delta in later)


def test_text_comes_as_content_of_choice_0(server: FakeServer) -> None:
    found = chunks(server)
    assert all([choice["index"] for choice in chunk["choices"]] == [0] for chunk in found)
    deltas = [chunk["choices"][0]["delta"] for chunk in found[1:-1]]
    assert all(list(delta) == ["content"] for delta in deltas)
    assert "".join(delta["content"] for delta in deltas) == ANSWER


def test_the_finish_chunk_alone_has_a_reason_and_an_empty_delta(server: FakeServer) -> None:
    *others, last = [chunk["choices"][0] for chunk in chunks(server)]
    assert all(choice["finish_reason"] is None for choice in others)
    assert (last["finish_reason"], last["delta"]) == ("length", {})


def test_usage_is_absent_unless_asked_for(server: FakeServer) -> None:
    for options in (None, {}, {"include_usage": False}, {"include_usage": None}):
        assert all("usage" not in chunk for chunk in chunks(server, stream_options=options))


def test_usage_comes_last_with_no_choices(server: FakeServer) -> None:
    *others, last = chunks(server, stream_options={"include_usage": True}, cache_prompt=False)
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": len("[user]hello>"),
        "completion_tokens": 6,
        "total_tokens": len("[user]hello>") + 6,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert all(chunk["choices"] for chunk in others)


def test_each_of_several_choices_has_its_own_role_text_and_end(server: FakeServer) -> None:
    by_choice: dict[int, list[dict[str, Any]]] = {0: [], 1: [], 2: []}
    for chunk in chunks(server, n=3):
        (choice,) = chunk["choices"]
        by_choice[choice["index"]].append(choice)
    for choices in by_choice.values():
        assert choices[0]["delta"]["role"] == "assistant"
        assert "".join(c["delta"].get("content", "") for c in choices) == ANSWER
        assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["length"]


def test_a_stop_string_finishes_with_stop(server: FakeServer) -> None:
    found = chunks(server, stop=ANSWER[3:5])
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found)
    assert text == ANSWER[: ANSWER.index(ANSWER[3:5])]


def test_the_end_of_the_turn_finishes_with_stop() -> None:
    with fake_serving(choose=lambda tokens: END) as server:
        first, last = chunks(server)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert last["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}


def test_logprobs_stand_beside_the_text_of_their_tokens(server: FakeServer) -> None:
    for chunk in chunks(server, logprobs=True, top_logprobs=2)[1:-1]:
        (choice,) = chunk["choices"]
        entries = choice["logprobs"]["content"]
        assert "".join(entry["token"] for entry in entries) == choice["delta"]["content"]
        assert all(entry["bytes"] == [ord(entry["token"])] for entry in entries)
        assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


def test_the_whole_answer_is_what_the_stream_adds_up_to(server: FakeServer) -> None:
    with server.live.client() as client:
        whole = client.post("/v1/chat/completions", json={**HELLO, "stream": False}).json()
    assert whole["object"] == "chat.completion"
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": ANSWER},
            "finish_reason": "length",
        }
    ]
    assert whole["usage"]["completion_tokens"] == 6


def test_characters_that_json_must_escape_arrive_whole() -> None:
    text = 'a"b\\c\n\t\u00e9\U0001f600\u2028'.encode()

    def quote(tokens: list[int]) -> int:
        place = len(tokens) - len(b"[user]hello>")
        return text[place] if place < len(text) else END

    with fake_serving(choose=quote) as server:
        found = chunks(server, max_tokens=100)
    contents = [chunk["choices"][0]["delta"].get("content", "") for chunk in found]
    assert "".join(contents).encode() == text
    assert "\ufffd" not in "".join(contents)
