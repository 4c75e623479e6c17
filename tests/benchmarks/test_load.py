from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from canned_server import Answer, canned_serving, text_event, usage_event
from connection import Connection
from load import Load, PromptMaker, Rate, exchange, measure
from report import Exchange, Report


def num_prompt_tokens(body: dict[str, Any]) -> int:
    """Two tokens for each word, and five for the template."""
    return 5 + 2 * sum(len(message["content"].split()) for message in body["messages"])


def stream_words(body: dict[str, Any]) -> tuple[int, bytes]:
    usage = {"prompt_tokens": num_prompt_tokens(body), "completion_tokens": body["max_tokens"]}
    if not body["stream"]:
        return 200, json.dumps({"choices": [], "usage": usage}).encode()
    text = text_event("") + text_event("a") * body["max_tokens"]
    return 200, text + usage_event(num_prompt_tokens(body), body["max_tokens"])


def fail_streams(body: dict[str, Any]) -> tuple[int, bytes]:
    return (503, b"{}") if body["stream"] else stream_words(body)


def break_streams(body: dict[str, Any]) -> tuple[int, bytes]:
    return (200, b'data: {"error": {}}\n\n') if body["stream"] else stream_words(body)


def run(answer: Answer, load: Load) -> Report:
    async def drive() -> Report:
        async with canned_serving(answer) as address:
            return await measure(address, load)

    return asyncio.run(drive())


CACHED_FIVE = {"cached_tokens": 5}


def exchange_of(answer: dict[str, Any]) -> Exchange:
    """What is made of a whole answer."""

    async def drive() -> Exchange:
        async with canned_serving(lambda body: (200, json.dumps(answer).encode())) as address:
            connection = Connection(address)
            try:
                return await exchange(connection, b"{}")
            finally:
                await connection.close()

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


def test_what_was_not_cached_was_computed() -> None:
    answer = exchange_of({"usage": {"prompt_tokens": 9, "prompt_tokens_details": CACHED_FIVE}})
    assert (answer.num_cached_tokens, answer.num_computed_tokens) == (5, 4)


def test_a_count_of_computed_tokens_is_believed_first() -> None:
    usage = {"prompt_tokens": 9, "prompt_tokens_details": CACHED_FIVE}
    assert exchange_of({"usage": usage, "timings": {"prompt_n": 6}}).num_computed_tokens == 6


def test_a_server_without_a_cache_in_its_usage_tells_nothing_of_it() -> None:
    answer = exchange_of({"usage": {"prompt_tokens": 9}})
    assert (answer.num_cached_tokens, answer.num_computed_tokens) == (None, None)


def test_thoughts_belong_to_the_text_of_an_answer() -> None:
    message = {"reasoning_content": "Hm. ", "content": "Yes."}
    assert exchange_of({"choices": [{"message": message}]}).text == "Hm. Yes."


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
