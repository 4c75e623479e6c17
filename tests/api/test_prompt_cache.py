"""The cache's numbers from end to end: an engine that reuses, and answers that say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from fake_server import fake_serving

LONG = "p" * 50
"""Several steps: one takes 16 tokens."""


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with fake_serving() as server, server.live.client() as client:
        yield client


def ask(client: httpx.Client, prompt: str | list[str], **fields: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "max_tokens": 3, **fields}
    answer: dict[str, Any] = client.post("/v1/completions", json=body).raise_for_status().json()
    return answer


def chat_stream(client: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": LONG}]
    body = {"messages": messages, "max_tokens": 3, "stream": True, **fields}
    text = client.post("/v1/chat/completions", json=body).raise_for_status().text
    *lines, done = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert done == "[DONE]"
    return [json.loads(line) for line in lines]


def counts(answer: dict[str, Any]) -> tuple[int, int, int, int]:
    """Prompt and cached tokens of the usage; cached and computed ones of the timings."""
    usage, timings = answer["usage"], answer["timings"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return usage["prompt_tokens"], cached, timings["cache_n"], timings["prompt_n"]


def test_a_repeated_prompt_is_cached_but_for_its_last_token(client: httpx.Client) -> None:
    assert counts(ask(client, LONG)) == (50, 0, 0, 50)
    assert counts(ask(client, LONG)) == (50, 49, 49, 1)


def test_choices_of_a_new_prompt_are_not_cached_tokens(client: httpx.Client) -> None:
    num_prompt, *cached, num_computed = counts(ask(client, LONG, n=3))
    assert (num_prompt, cached) == (50, [0, 0])
    assert 50 <= num_computed < 60


@pytest.mark.parametrize("fields", [{"cache_prompt": False}, {"deterministic": True}])
def test_who_wants_no_cache_gets_none(client: httpx.Client, fields: dict[str, Any]) -> None:
    ask(client, LONG)
    assert counts(ask(client, LONG, **fields)) == (50, 0, 0, 50)


def test_one_key_finds_nothing_of_anothers(client: httpx.Client) -> None:
    ask(client, LONG)
    client.headers["authorization"] = "Bearer a"
    assert counts(ask(client, LONG)) == (50, 0, 0, 50)
    assert counts(ask(client, LONG)) == (50, 49, 49, 1)
    client.headers["authorization"] = "Bearer b"
    assert counts(ask(client, LONG)) == (50, 0, 0, 50)


def test_progress_goes_from_what_is_cached_to_all_of_it(client: httpx.Client) -> None:
    num_prompt = len(f"[user]{LONG}>")
    for num_cached in (0, num_prompt - 1):
        found = chat_stream(client, return_progress=True)
        texts = [bool(chunk["choices"][0]["delta"].get("content")) for chunk in found]
        progress = [chunk["prompt_progress"] for chunk in found if "prompt_progress" in chunk]
        assert all("prompt_progress" not in chunk for chunk in found[texts.index(True) :])
        assert all((p["total"], p["cache"]) == (num_prompt, num_cached) for p in progress)
        processed = [p["processed"] for p in progress]
        assert (processed[0], processed[-1]) == (num_cached, num_prompt)
        assert all(earlier <= later for earlier, later in pairwise(processed))


def test_a_report_says_where_and_why_a_prompt_was_read_again(client: httpx.Client) -> None:
    ask(client, LONG + "a" * 10)
    report = ask(client, LONG + "b" * 10, cache_report=True)["cache_report"]
    assert (report["prompt_tokens"], report["cached_tokens"]) == (60, 50)
    assert (report["reason"], report["position"]) == ("prompt_changed", 50)
    assert "a" in report["was"] and "b" in report["now"]


def test_a_stream_carries_its_report_in_the_finish_chunk(client: httpx.Client) -> None:
    chat_stream(client)
    *others, last = chat_stream(client, cache_report=True)
    assert last["cache_report"]["reason"] is None
    assert last["cache_report"]["cached_tokens"] == last["cache_report"]["prompt_tokens"] - 1
    assert all("cache_report" not in chunk for chunk in others)


def test_several_prompts_are_reported_one_by_one(client: httpx.Client) -> None:
    reports = ask(client, [LONG, "q"], cache_report=True)["cache_report"]
    assert [report["prompt_tokens"] for report in reports] == [50, 1]
