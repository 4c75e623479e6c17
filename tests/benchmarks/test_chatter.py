from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from canned_server import Body, canned_serving, text_event, usage_event
from chatter import METRICS, Pair, Result, gaps_within, summarize
from load import Load
from report import Exchange

CHAT = Load(num_output_tokens=1_000_000, ignore_eos=True)
PROMPT = Load(num_prompt_tokens=50, num_output_tokens=1, seed=1)


class Talker:
    """Chats for as long as it is asked to; reads a prompt until ten tokens were chatted beside."""

    def __init__(self) -> None:
        self.num_chatted = 0
        self.num_chatted_before = 0
        self._progress = asyncio.Condition()

    def __call__(self, body: Body) -> tuple[int, bytes] | AsyncIterator[bytes]:
        if not body["stream"]:
            num_words = sum(len(message["content"].split()) for message in body["messages"])
            return 200, usage_event(num_words, 1)[len("data: ") :]
        return self._read_prompt() if body["max_tokens"] == 1 else self._chat(body["max_tokens"])

    async def _chat(self, num_tokens: int) -> AsyncIterator[bytes]:
        for _ in range(num_tokens):
            async with self._progress:
                self.num_chatted += 1
                self._progress.notify_all()
            yield text_event("a")
            await asyncio.sleep(0)  # or it writes on until the socket is full

    async def _read_prompt(self) -> AsyncIterator[bytes]:
        self.num_chatted_before = self.num_chatted
        async with self._progress:
            await self._progress.wait_for(lambda: self.num_chatted >= self.num_chatted_before + 10)
        yield text_event("b") + usage_event(50, 1)


def test_the_prompt_comes_while_the_chatter_talks() -> None:
    async def drive() -> tuple[Talker, Exchange, Exchange]:
        talker = Talker()
        async with canned_serving(talker) as address:
            return talker, *await Pair(address, CHAT, PROMPT).beside()

    talker, chat, prompt = asyncio.run(drive())
    assert talker.num_chatted_before >= 8
    assert chat.arrivals[0] < prompt.started
    assert prompt.num_prompt_tokens == 50


def test_the_chatter_is_cut_off_after_the_prompt() -> None:
    async def drive() -> Exchange:
        async with canned_serving(Talker()) as address:
            chat, _ = await Pair(address, CHAT, PROMPT).beside()
            return chat

    assert len(asyncio.run(drive()).arrivals) < CHAT.num_output_tokens


def test_a_chatter_that_is_refused_is_an_error() -> None:
    def refuse(body: Body) -> tuple[int, bytes]:
        return (503, b"{}") if body["stream"] else Talker()(body)  # type: ignore[return-value]

    async def drive() -> None:
        async with canned_serving(refuse) as address:
            await Pair(address, CHAT, PROMPT).beside()

    with pytest.raises(RuntimeError, match="status 503"):
        asyncio.run(drive())


def test_gaps_that_reach_into_the_span_count() -> None:
    arrivals = [0.0, 1.0, 2.0, 4.0, 8.0]
    assert gaps_within(arrivals, 1.5, 3.0) == [1000, 2000]
    assert gaps_within(arrivals, 0.5, 0.75) == [1000]
    assert gaps_within(arrivals, 9.0, 10.0) == []


def talk(arrivals: list[float], ended: float) -> Exchange:
    return Exchange(0.0, arrivals, ended=ended, num_prompt_tokens=5)


def test_a_stall_is_the_worst_gap_and_the_slowdown_a_ratio() -> None:
    alone = talk([1.0, 2.0, 3.0], 3.0), Exchange(0.0, [2.0], ended=2.0)
    beside = talk([1.0, 2.0, 7.0, 8.0], 8.0), Exchange(2.5, [6.5], ended=6.5)
    result = summarize(alone, beside)
    assert (result.gap_max_alone, result.gap_max_beside) == (1000, 5000)
    assert (result.prompt_slowdown, result.seconds_unattended) == (2.0, 0.0)


def test_a_chatter_that_ended_early_is_told() -> None:
    alone = talk([1.0, 2.0, 3.0], 3.0), Exchange(0.0, [2.0], ended=2.0)
    beside = talk([1.0, 2.0, 3.0], 3.0), Exchange(2.5, [6.5], ended=6.5)
    assert summarize(alone, beside).seconds_unattended == 3.5


def test_a_chatter_without_tokens_beside_the_prompt_is_an_error() -> None:
    alone = talk([1.0, 2.0, 3.0], 3.0), Exchange(0.0, [2.0], ended=2.0)
    with pytest.raises(RuntimeError, match="--chat-limit"):
        summarize(alone, (talk([1.0, 2.0], 2.0), Exchange(2.5, [6.5], ended=6.5)))


def test_every_metric_is_a_field_of_a_result() -> None:
    assert set(METRICS) == set(Result.__dataclass_fields__)
