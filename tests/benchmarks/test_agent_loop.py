from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from agent_loop import METRICS, Result, Step, run_loop, summarize
from canned_server import Answer, Body, canned_serving
from conversation import Sizes
from prompts import KnownPrompts, PromptEncoder
from server import Running

SIZES = Sizes(num_turns=3, system=30, question=10, call=5, result=20)
STEP = Step("agent 1", 0, 30, 30, 10, 10, 15, 0.5)


class CountingServer:
    """Answers without a model. With `remembers` it computes what is new and nothing else."""

    def __init__(self, encoder: PromptEncoder, *, remembers: bool, tells: bool = True) -> None:
        self._encoder = encoder
        self._known = KnownPrompts()
        self._remembers = remembers
        self._tells = tells

    def __call__(self, body: Body) -> tuple[int, bytes]:
        prompt = self._encoder.encode(body["messages"], body.get("tools", ()))
        num_computed = self._known.num_new(prompt) if self._remembers else len(prompt)
        self._known.add(prompt)
        usage: dict[str, Any] = {"prompt_tokens": len(prompt), "completion_tokens": 1}
        if self._tells:
            usage["prompt_tokens_details"] = {"cached_tokens": len(prompt) - num_computed}
        choices = [{"message": {"role": "assistant", "content": " thought"}}]
        return 200, json.dumps({"choices": choices, "usage": usage}).encode()


def run(encoder: PromptEncoder, answer: Answer) -> Result:
    async def drive() -> list[Step]:
        async with canned_serving(answer) as address:
            server = Running(address, 1, 0.0)
            return await run_loop(server, encoder, SIZES, seed=0, num_output_tokens=4)

    return summarize(asyncio.run(drive()), 1.0, None)


@pytest.mark.gguf
def test_a_server_that_forgets_nothing_has_the_ratio_one(encoder: PromptEncoder) -> None:
    result = run(encoder, CountingServer(encoder, remembers=True))
    assert (result.server_ratio, result.worst_excess, result.miscounted) == (1.0, 0, 0)


@pytest.mark.gguf
def test_what_agents_share_is_new_to_each_and_once_to_the_server(encoder: PromptEncoder) -> None:
    result = run(encoder, CountingServer(encoder, remembers=True))
    assert result.num_new_to_server < result.num_new_tokens
    assert result.ratio is not None and result.ratio < 1
    assert result.later_ratio == 1.0


@pytest.mark.gguf
def test_a_server_that_forgets_all_computes_every_prompt(encoder: PromptEncoder) -> None:
    result = run(encoder, CountingServer(encoder, remembers=False))
    assert result.num_computed_tokens == result.num_prompt_tokens > result.num_new_tokens
    assert result.later_ratio is not None and result.later_ratio > 2


@pytest.mark.gguf
def test_a_server_that_does_not_tell_has_no_ratio(encoder: PromptEncoder) -> None:
    result = run(encoder, CountingServer(encoder, remembers=True, tells=False))
    assert (result.num_computed_tokens, result.ratio, result.worst_excess) == (None, None, None)


@pytest.mark.gguf
def test_a_turn_that_fails_is_named(encoder: PromptEncoder) -> None:
    with pytest.raises(RuntimeError, match="agent 1, turn 1: status 500"):
        run(encoder, lambda body: (500, b"{}"))


def test_another_count_of_the_prompt_is_seen() -> None:
    assert summarize([STEP, replace(STEP, num_told=27)], 1.0, None).miscounted == 3


def test_first_turns_are_kept_apart() -> None:
    result = summarize([STEP, replace(STEP, turn=1, num_computed=10)], 1.0, None)
    assert (result.ratio, result.later_ratio) == (1.25, 1.0)


def test_every_metric_is_a_field_of_a_result() -> None:
    assert set(METRICS) == set(Result.__dataclass_fields__) - {"steps"}
