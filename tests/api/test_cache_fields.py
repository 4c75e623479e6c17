"""What answers tell of a prompt: usage, timings, progress and the cache report."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fake_server import FakeInstance, HeldRunner

from llmd.api.openai import encode_chat, encode_completions
from llmd.api.openai.encode_chat import ChatEncoder
from llmd.api.openai.encode_completions import CompletionEncoder
from llmd.core.event import Event, Finished, PromptAdvanced, TextDelta
from llmd.core.output import CacheReport, FinishReason, MissReason, PromptProgress, Timings
from llmd.core.request import GenerateRequest, TextPrompt
from llmd.registry.registry import ModelRegistry
from llmd.serving.generation import Generation, start_generation

ADVANCED = PromptAdvanced(
    1, PromptProgress(num_total=40, num_cached=8, num_processed=24, elapsed_ms=12.6)
)
HIT = CacheReport(num_prompt=5, num_cached=4)
MISS = CacheReport(
    num_prompt=5,
    num_cached=2,
    reason=MissReason.REASONING_DROPPED,
    position=2,
    was="<think>",
    now="The",
)
ENCODED_MISS = {
    "prompt_tokens": 5,
    "cached_tokens": 2,
    "reason": "reasoning_dropped",
    "position": 2,
    "was": "<think>",
    "now": "The",
}


def generation(*prompts: str, num_choices: int = 1) -> Generation:
    """A generation that was started and closed: it is for its names and numbers."""

    async def main() -> Generation:
        instance = FakeInstance(HeldRunner(256), num_sequences=4, error=None)
        instance.may_load.set()
        registry = ModelRegistry([instance])
        await instance.load()
        texts = tuple(TextPrompt(text=prompt) for prompt in prompts)
        made = await start_generation(
            registry, GenerateRequest(model=None, prompts=texts, num_choices=num_choices)
        )
        made.close()
        await registry.close()
        return made

    return asyncio.run(asyncio.wait_for(main(), 30))


def finished(
    index: int, *, cached: int, prompt: int, report: CacheReport | None = None
) -> Finished:
    timings = Timings(
        num_cached=cached, num_prompt=prompt, prompt_ms=10.0, num_generated=3, generated_ms=20.0
    )
    return Finished(index, FinishReason.LENGTH, timings, cache_report=report)


def chunk(data: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
    return decoded


def chat_answer(made: Generation, *events: Event) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(encode_chat.encode_completion(made, events))
    return answer


def text_answer(made: Generation, *events: Event) -> dict[str, Any]:
    data = encode_completions.encode_completion(
        made, events, num_kept=made.num_choices, with_logprobs=False
    )
    answer: dict[str, Any] = json.loads(data)
    return answer


def counts(answer: dict[str, Any]) -> tuple[int, int, int, int]:
    """Prompt and cached tokens of the usage; cached and computed ones of the timings."""
    usage, timings = answer["usage"], answer["timings"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return usage["prompt_tokens"], cached, timings["cache_n"], timings["prompt_n"]


def test_cached_tokens_of_one_choice_are_the_engines_own() -> None:
    answer = chat_answer(generation("hello"), finished(0, cached=4, prompt=1))
    assert counts(answer) == (5, 4, 4, 1)


def test_what_further_choices_share_with_the_first_was_not_cached() -> None:
    made = generation("hello", num_choices=3)
    ends = [finished(i, cached=c, prompt=5 - c) for i, c in ((2, 4), (0, 0), (1, 4))]
    assert counts(chat_answer(made, *ends)) == counts(text_answer(made, *ends)) == (5, 0, 0, 7)


def test_each_prompt_counts_its_cached_tokens_once() -> None:
    made = generation("hello", "goodbye", num_choices=2)
    ends = [
        finished(index, cached=cached, prompt=1)
        for index, cached in enumerate((4, 4, 6, 6))
    ]  # fmt: skip
    prompt_tokens, *cached, _ = counts(text_answer(made, *ends))
    assert (prompt_tokens, cached) == (12, [10, 10])


def test_the_usage_chunk_counts_as_the_whole_answer_does() -> None:
    made = generation("hello", num_choices=2)
    ends = [finished(0, cached=2, prompt=3), finished(1, cached=4, prompt=1)]
    last = chunk(ChatEncoder(made).head.usage_chunk(made, ends))
    assert last["choices"] == []
    assert counts(last) == counts(chat_answer(made, *ends)) == (5, 2, 2, 4)


@pytest.mark.parametrize(
    ("encode", "choice"),
    [
        (ChatEncoder, {"index": 1, "delta": {"content": ""}, "finish_reason": None}),
        (
            CompletionEncoder,
            {"index": 1, "text": "", "logprobs": None, "finish_reason": None},
        ),
    ],
)
def test_progress_comes_in_a_chunk_without_text_as_llama_server_sends_it(
    encode: Any, choice: dict[str, Any]
) -> None:
    sent = chunk(encode(generation("a", num_choices=2)).feed(ADVANCED))
    assert sent["choices"] == [choice]
    assert sent["prompt_progress"] == {"total": 40, "cache": 8, "processed": 24, "time_ms": 13}


def test_progress_is_no_part_of_a_whole_answer() -> None:
    made = generation("hello", num_choices=2)
    ends = [finished(index, cached=0, prompt=5) for index in range(2)]
    events: list[Event] = [ADVANCED, TextDelta(0, "hi"), *ends]
    for answer in (chat_answer(made, *events), text_answer(made, *events)):
        assert "prompt_progress" not in answer


@pytest.mark.parametrize("encode", [ChatEncoder, CompletionEncoder])
def test_a_report_stands_in_the_finish_chunk(encode: Any) -> None:
    sent = chunk(encode(generation("hello")).feed(finished(0, cached=2, prompt=3, report=MISS)))
    assert sent["choices"][0]["finish_reason"] == "length"
    assert sent["cache_report"] == ENCODED_MISS


@pytest.mark.parametrize("encode", [ChatEncoder, CompletionEncoder])
def test_without_being_asked_for_there_is_neither(encode: Any) -> None:
    sent = chunk(encode(generation("hello")).feed(finished(0, cached=2, prompt=3)))
    assert not sent.keys() & {"cache_report", "prompt_progress"}


def test_a_whole_answer_of_one_prompt_has_one_report() -> None:
    made = generation("hello", num_choices=2)
    ends = [finished(1, cached=4, prompt=1), finished(0, cached=2, prompt=3, report=MISS)]
    for answer in (chat_answer(made, *ends), text_answer(made, *ends)):
        assert answer["cache_report"] == ENCODED_MISS


def test_a_whole_answer_of_several_prompts_has_a_report_of_each() -> None:
    made = generation("hello", "world")
    ends = [
        finished(1, cached=2, prompt=3, report=MISS),
        finished(0, cached=4, prompt=1, report=HIT),
    ]
    first, second = text_answer(made, *ends)["cache_report"]
    assert first == {
        "prompt_tokens": 5, "cached_tokens": 4, "reason": None, "position": None,
        "was": "", "now": "",
    }  # fmt: skip
    assert second == ENCODED_MISS


def test_without_being_asked_for_a_whole_answer_has_no_report() -> None:
    made = generation("hello")
    assert "cache_report" not in chat_answer(made, finished(0, cached=0, prompt=5))
