"""What went over the wire between a client library and a server, read without that library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; the arguments as JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The message of a chat completion, streamed or not."""

    id: str
    content: str
    reasoning: str
    calls: tuple[Call, ...]
    finish_reason: str

    @property
    def said(self) -> tuple[str, str, tuple[tuple[str, str], ...], str]:
        """All but the ids: what the same question has to be answered with again."""
        calls = tuple((call.name, call.arguments) for call in self.calls)
        return self.content, self.reasoning, calls, self.finish_reason


@dataclass(slots=True)
class Exchange:
    """A request for a chat completion, and the bytes of its answer as far as they were read."""

    request: dict[str, Any]
    status: int
    raw: bytearray = field(default_factory=bytearray)

    def answer(self) -> Answer:
        """The answer. A stream is held to what clients' accumulators need."""
        assert self.status == 200, bytes(self.raw)
        if self.request.get("stream"):
            return _join(_chunks(bytes(self.raw)), self.request)
        body = json.loads(bytes(self.raw))
        (choice,) = body["choices"]
        message = choice["message"]
        assert message["role"] == "assistant"
        calls = tuple(_call(call) for call in message.get("tool_calls", []))
        assert isinstance(message["content"], str) or calls
        return _whole(
            Answer(
                body["id"],
                message["content"] or "",
                message.get("reasoning_content", ""),
                calls,
                choice["finish_reason"],
            )
        )

    def usage(self) -> dict[str, Any]:
        """The usage of an answer that was not streamed."""
        return dict(json.loads(bytes(self.raw))["usage"])


class Wire:
    """Keeps every exchange of the HTTP clients that it makes."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/v1"
        self.exchanges: list[Exchange] = []

    def client(self) -> httpx2.Client:
        return httpx2.Client(trust_env=False, timeout=60, event_hooks={"response": [self._record]})

    def async_client(self) -> httpx2.AsyncClient:
        async def record(response: httpx2.Response) -> None:
            self._record(response)

        return httpx2.AsyncClient(trust_env=False, timeout=60, event_hooks={"response": [record]})

    def _record(self, response: httpx2.Response) -> None:
        assert "content-encoding" not in response.headers
        request = json.loads(response.request.content)
        exchange = Exchange(request, response.status_code)
        response.stream = _Recorded(response.stream, exchange.raw)
        self.exchanges.append(exchange)

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [exchange.request for exchange in self.exchanges]

    @property
    def answers(self) -> list[Answer]:
        return [exchange.answer() for exchange in self.exchanges]

    @property
    def finish_reasons(self) -> list[str]:
        return [answer.finish_reason for answer in self.answers]

    @property
    def calls(self) -> list[Call]:
        return [call for answer in self.answers for call in answer.calls]

    def check_ids(self) -> None:
        """No id is used twice, and each tool message answers a call that was made."""
        ids = [answer.id for answer in self.answers] + [call.id for call in self.calls]
        assert len(set(ids)) == len(ids), ids
        answered = {
            message["tool_call_id"]
            for request in self.requests
            for message in request["messages"]
            if message["role"] == "tool"
        }
        assert answered <= {call.id for call in self.calls}


class _Recorded(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Passes a body on as it comes, and keeps it."""

    def __init__(self, stream: Any, raw: bytearray) -> None:
        self._stream = stream
        self._raw = raw

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._raw += part
            yield part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._raw += part
            yield part

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _chunks(raw: bytes) -> list[dict[str, Any]]:
    *events, rest = raw.decode().split("\n\n")
    assert rest == "" and "\r" not in raw.decode()
    lines = [event for event in events if not event.startswith(":")]
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def _join(chunks: list[dict[str, Any]], request: dict[str, Any]) -> Answer:
    assert len({(c["id"], c["object"], c["created"], c["model"]) for c in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    if (request.get("stream_options") or {}).get("include_usage"):
        assert chunks.pop()["choices"] == []
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert len(choices) == len(chunks)
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert choices[-1]["delta"] == {}
    assert all(choice["finish_reason"] is None for choice in choices[:-1])
    deltas = [choice["delta"] for choice in choices[1:-1]]
    assert not any("role" in delta for delta in deltas)
    return _whole(
        Answer(
            chunks[0]["id"],
            "".join(delta.get("content", "") for delta in deltas),
            "".join(delta.get("reasoning_content", "") for delta in deltas),
            tuple(_join_calls([each for delta in deltas for each in delta.get("tool_calls", [])])),
            choices[-1]["finish_reason"],
        )
    )


def _join_calls(deltas: list[dict[str, Any]]) -> list[Call]:
    calls: list[Call] = []
    for delta in deltas:
        if delta["index"] == len(calls):
            assert delta["function"]["arguments"] == ""
            calls.append(_call(delta))
            continue
        # What is said twice would be joined by the clients: only arguments go on.
        assert delta.keys() == {"index", "function"} and delta["function"].keys() == {"arguments"}
        call = calls[-1]
        assert delta["index"] == len(calls) - 1
        calls[-1] = Call(call.id, call.name, call.arguments + delta["function"]["arguments"])
    return calls


def _call(call: dict[str, Any]) -> Call:
    function = call["function"]
    assert call["type"] == "function" and isinstance(call["id"], str) and call["id"]
    return Call(call["id"], function["name"], function["arguments"])


def _whole(answer: Answer) -> Answer:
    """The answer, whose calls are whole unless its length cut the last of them."""
    is_cut = answer.finish_reason == "length"
    for call in answer.calls[:-1] if is_cut else answer.calls:
        assert isinstance(json.loads(call.arguments), dict)
    assert is_cut or answer.finish_reason == ("tool_calls" if answer.calls else "stop")
    return answer
