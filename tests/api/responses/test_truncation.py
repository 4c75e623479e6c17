"""Conversations that no longer fit, over a model whose tokens are bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fake_server import fake_serving

CONTEXT = 2000


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with fake_serving(num_cells=CONTEXT) as server, server.live.client() as client:
        yield client


def turns(number: int) -> list[dict[str, Any]]:
    """So many questions with their answers, each different, and one more question."""
    items: list[dict[str, Any]] = []
    for turn in range(number):
        items.append({"role": "user", "content": f"{turn:03}" * 20})
        items.append({"role": "assistant", "content": f"{turn:03}" * 15})
    return [*items, {"role": "user", "content": "and now"}]


def usage(client: httpx.Client, items: list[dict[str, Any]]) -> tuple[int, int]:
    """Prompt tokens, and how many of them were cached."""
    body = {"input": items, "truncation": "auto", "instructions": "brief", "max_output_tokens": 5}
    answer = client.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    counts = answer.json()["usage"]
    return counts["input_tokens"], counts["input_tokens_details"]["cached_tokens"]


def test_what_fits_stays_whole(client: httpx.Client) -> None:
    counted = client.post(
        "/v1/responses/input_tokens", json={"input": turns(5), "instructions": "brief"}
    )
    assert usage(client, turns(5))[0] == counted.json()["input_tokens"]


def test_what_does_not_fit_is_shortened(client: httpx.Client) -> None:
    assert CONTEXT / 2 < usage(client, turns(50))[0] < CONTEXT


def test_the_turns_after_a_cut_find_the_same_beginning(client: httpx.Client) -> None:
    draw = random.Random(1)
    items: list[dict[str, Any]] = []
    dropped, missed = [], 0
    before = 0
    for _ in range(40):
        # Some of what is said takes more tokens than others of as many characters.
        question = {"role": "user", "content": draw.choice("a\u8a9e") * draw.randint(1, 50)}
        counted = client.post(
            "/v1/responses/input_tokens",
            json={"input": [*items, question], "instructions": "brief"},
        )
        num_tokens, num_cached = usage(client, [*items, question])
        dropped.append(counted.json()["input_tokens"] - num_tokens)
        missed += num_cached < before // 2
        before = num_tokens
        answer = {"role": "assistant", "content": draw.choice("b\u8a00") * draw.randint(1, 50)}
        items += [question, answer]
    assert dropped == sorted(dropped)
    num_cuts = len(set(dropped) - {0})
    assert 2 <= num_cuts <= dropped[-1] / (CONTEXT / 4)
    assert missed <= num_cuts


def test_there_is_room_left_for_the_answer(client: httpx.Client) -> None:
    items = turns(12)
    while True:
        counted = client.post("/v1/responses/input_tokens", json={"input": items})
        if counted.json()["input_tokens"] > CONTEXT - 100:
            break
        items = [
            {"role": "user", "content": "more"},
            {"role": "assistant", "content": "ok"},
            *items,
        ]
    assert counted.json()["input_tokens"] < CONTEXT
    body = {"input": items, "truncation": "auto", "max_output_tokens": 300}
    answer = client.post("/v1/responses", json=body).json()
    assert CONTEXT / 3 < answer["usage"]["input_tokens"] <= CONTEXT - 300


def test_what_leaves_no_room_and_cannot_be_shortened_is_answered_all_the_same(
    client: httpx.Client,
) -> None:
    body = {"input": "x" * (CONTEXT - 100), "truncation": "auto", "max_output_tokens": 300}
    assert client.post("/v1/responses", json=body).status_code == 200


def test_what_cannot_be_shortened_is_refused(client: httpx.Client) -> None:
    body = {"input": "x" * 2 * CONTEXT, "truncation": "auto"}
    error = client.post("/v1/responses", json=body).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")


def test_without_truncation_it_is_refused(client: httpx.Client) -> None:
    error = client.post("/v1/responses", json={"input": turns(50)}).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
