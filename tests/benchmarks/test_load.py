from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from connection import Address
from load import Load, PromptMaker, Rate, measure
from report import Report

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Address]:
    """A server that answers each request with the status and body that `answer` makes of it."""

    handlers: list[asyncio.Task[Any] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"Content-Length: ")[1])
                status, body = answer(json.loads(await reader.readexactly(length)))
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
                writer.write(body)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1], "")
        # Each handler ends when its client has closed.
        await asyncio.gather(*filter(None, handlers))


def num_prompt_tokens(body: dict[str, Any]) -> int:
    """Two tokens for each word, and five for the template."""
    return 5 + 2 * sum(len(message["content"].split()) for message in body["messages"])


def stream_words(body: dict[str, Any]) -> tuple[int, bytes]:
    usage = {"prompt_tokens": num_prompt_tokens(body), "completion_tokens": body["max_tokens"]}
    if not body["stream"]:
        return 200, json.dumps({"choices": [], "usage": usage}).encode()
    events: list[Any] = [{"choices": [{"delta": {"role": "assistant", "content": ""}}]}]
    events += [{"choices": [{"delta": {"content": "a"}}]}] * body["max_tokens"]
    events += [{"choices": [], "usage": usage}]
    return 200, b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def fail_streams(body: dict[str, Any]) -> tuple[int, bytes]:
    return (503, b"{}") if body["stream"] else stream_words(body)


def break_streams(body: dict[str, Any]) -> tuple[int, bytes]:
    return (200, b'data: {"error": {}}\n\n') if body["stream"] else stream_words(body)


def run(answer: Answer, load: Load) -> Report:
    async def drive() -> Report:
        async with serving(answer) as address:
            return await measure(address, load)

    return asyncio.run(drive())


def test_every_request_is_sent_once() -> None:
    bodies: list[dict[str, Any]] = []

    def record(body: dict[str, Any]) -> tuple[int, bytes]:
        bodies.append(body)
        return stream_words(body)

    report = run(record, Load(num_clients=3, num_requests=7, num_output_tokens=4))
    assert report.num_requests == 7
    assert sorted(body["seed"] for body in bodies if body["stream"]) == list(range(7))


def test_prompts_have_the_length_asked_for() -> None:
    report = run(stream_words, Load(num_requests=2, num_prompt_tokens=101))
    assert report.num_prompt_tokens == 2 * 101


def test_tokens_are_counted_by_usage() -> None:
    report = run(stream_words, Load(num_requests=2, num_output_tokens=8))
    assert (report.num_errors, report.num_output_tokens) == (0, 16)


def test_a_whole_answer_is_one_arrival() -> None:
    report = run(stream_words, Load(num_requests=2, num_output_tokens=8, stream=False))
    assert (report.num_errors, report.num_output_tokens, report.gap_max) == (0, 16, None)


@pytest.mark.parametrize(
    ("answer", "reason"), [(fail_streams, "status 503"), (break_streams, "error in the stream")]
)
def test_a_failed_request_is_an_error(answer: Answer, reason: str) -> None:
    report = run(answer, Load(num_requests=2))
    assert report.errors == {reason: 2}


def test_a_server_that_refuses_is_named() -> None:
    with pytest.raises(RuntimeError, match="status 404"):
        run(lambda body: (404, b"{}"), Load())


def test_the_same_seed_makes_the_same_prompts() -> None:
    rate = Rate(per_word=1.0, overhead=0.0)
    first, second = PromptMaker(Load(seed=3), rate), PromptMaker(Load(seed=3), rate)
    assert first.body(2) == second.body(2)


def test_prompts_share_their_prefix_only() -> None:
    prompts = PromptMaker(Load(num_shared_tokens=20), Rate(per_word=1.0, overhead=0.0))
    one, other = (json.loads(prompts.body(number))["messages"] for number in (0, 1))
    assert one[0] == other[0]
    assert len(one[0]["content"].split()) == 20
    assert one[1] != other[1]


def test_prompts_repeat_after_the_number_asked_for() -> None:
    prompts = PromptMaker(Load(num_prompts=2), Rate(per_word=1.0, overhead=0.0))
    messages = [json.loads(prompts.body(number))["messages"] for number in range(3)]
    assert messages[0] == messages[2] != messages[1]
