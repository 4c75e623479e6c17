from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from fake_server import ENDLESS, HeldRunner, fake_model
from fakes import FakeRunner, continuation, fake_engine, fake_request, next_token

from llmd.core.output import FinishReason, Output, PromptProgress, Timings
from llmd.engine.client import EngineClient, OutputStream
from llmd.engine.engine import Engine
from llmd.engine.loading import LoadedModel
from llmd.engine.thread import MAX_CRASHES
from llmd.errors import EngineFailed, InvalidModelFile, QueueFull

TIMINGS = Timings(num_cached=0, num_prompt=1, prompt_ms=1.0, num_generated=1, generated_ms=1.0)

Work = Callable[[EngineClient], Coroutine[Any, Any, None]]


def with_client(work: Work, runner: FakeRunner | None = None, *, max_queue: int = 256) -> None:
    """Run `work` with a loaded engine of four sequences, which is closed after it."""
    runner = runner or FakeRunner(256)

    def build() -> tuple[Engine, LoadedModel]:
        return fake_engine(runner, context_size=runner.num_cells), fake_model(runner.num_cells)

    async def main() -> None:
        client = EngineClient(build, max_queue=max_queue)
        await client.start()
        try:
            await asyncio.wait_for(work(client), 30)
        finally:
            await asyncio.wait_for(client.close(), 30)

    asyncio.run(main())


async def text_of(stream: OutputStream) -> str:
    return "".join([output.text async for output in stream])


def output(index: int, text: str, reason: FinishReason | None = None) -> Output:
    return Output(
        request_id="a",
        index=index,
        text=text,
        num_tokens=len(text),
        finish_reason=reason,
        timings=TIMINGS if reason else None,
    )


def read(stream: OutputStream) -> list[Output]:
    async def main() -> list[Output]:
        return [each async for each in stream]

    return asyncio.run(main())


def detached(num_sequences: int) -> OutputStream:
    client: Any = None
    return OutputStream(client, fake_request("a", "x", num_choices=num_sequences))


def test_a_request_is_answered() -> None:
    async def work(client: EngineClient) -> None:
        stream = client.submit(fake_request("a", "hello"))
        assert await text_of(stream) == continuation("hello", 8)
        assert client.stats is not None and client.stats.num_generated_tokens == 8

    with_client(work)


def test_requests_are_answered_side_by_side() -> None:
    async def work(client: EngineClient) -> None:
        streams = [client.submit(fake_request(str(i), f"prompt {i}")) for i in range(9)]
        texts = await asyncio.gather(*map(text_of, streams))
        assert texts == [continuation(f"prompt {i}", 8) for i in range(9)]

    with_client(work)


def test_outputs_that_nobody_read_are_merged() -> None:
    stream = detached(1)
    assert not stream.put(output(0, "ab"))
    assert not stream.put(output(0, "c"))
    assert stream.put(output(0, "", FinishReason.STOP))
    (merged,) = read(stream)
    assert (merged.text, merged.num_tokens, merged.finish_reason) == ("abc", 3, FinishReason.STOP)
    assert merged.timings == TIMINGS


def test_each_sequence_is_merged_by_itself() -> None:
    stream = detached(2)
    for text in "abc":
        stream.put(output(0, text))
        stream.put(output(1, text.upper()))
    stream.put(output(0, "", FinishReason.STOP))
    assert stream.put(output(1, "D", FinishReason.LENGTH))
    assert [(each.index, each.text) for each in read(stream)] == [(0, "abc"), (1, "ABCD")]


def test_merging_keeps_the_latest_progress() -> None:
    stream = detached(1)
    early, late = (
        PromptProgress(num_total=9, num_cached=1, num_processed=done, elapsed_ms=1.0)
        for done in (5, 9)
    )
    for progress in (early, late, None):
        stream.put(replace(output(0, "a"), progress=progress))
    stream.put(output(0, "", FinishReason.STOP))
    (merged,) = read(stream)
    assert (merged.progress, merged.text) == (late, "aaa")


def test_a_request_beyond_the_queue_is_refused_and_leaves_no_trace() -> None:
    async def work(client: EngineClient) -> None:
        streams = [
            client.submit(fake_request(str(index), "x", max_tokens=None)) for index in range(6)
        ]
        with pytest.raises(QueueFull):
            client.submit(fake_request("late", "x"))
        assert client.num_unfinished == 6
        streams[0].abort()
        late = client.submit(fake_request("late", "hello", priority=1))
        for stream in streams:
            stream.abort()
        assert await text_of(late) == continuation("hello", 8)
        assert client.num_unfinished == 0

    with_client(work, HeldRunner(ENDLESS, next_token), max_queue=2)


def test_sequences_that_are_over_make_room_one_by_one() -> None:
    async def work(client: EngineClient) -> None:
        running = client.submit(fake_request("a", "x", "y", num_choices=2, max_tokens=None))
        with pytest.raises(QueueFull):
            client.submit(fake_request("b", "x"))
        running.put(replace(output(3, ""), finish_reason=FinishReason.STOP))
        client.submit(fake_request("c", "x")).abort()
        with pytest.raises(QueueFull):
            client.submit(fake_request("d", "x", num_choices=2))
        running.abort()

    with_client(work, HeldRunner(ENDLESS), max_queue=0)


def test_who_is_refused_is_told_how_long_requests_took() -> None:
    async def work(client: EngineClient) -> None:
        first = client.submit(fake_request("first", "x"))
        first.submitted_at -= 30  # as if it had come half a minute ago
        await text_of(first)
        endless = client.submit(fake_request("endless", "x", num_choices=4, max_tokens=None))
        with pytest.raises(QueueFull) as raised:
            client.submit(fake_request("late", "x"))
        assert 30 <= raised.value.retry_after <= 60
        endless.abort()

    with_client(work, HeldRunner(ENDLESS), max_queue=0)


def test_an_aborted_request_is_forgotten_and_may_be_aborted_again() -> None:
    runner = HeldRunner(ENDLESS)

    async def work(client: EngineClient) -> None:
        endless = client.submit(fake_request("endless", "x", max_tokens=None))
        assert (await anext(endless)).text
        endless.abort()
        endless.abort()
        client.forget("nobody")
        after = client.submit(fake_request("after", "hello", max_tokens=3))
        assert len(await text_of(after)) == 3
        assert client.stats is not None and client.stats.num_running == 0

    with_client(work, runner)


def test_aborting_after_the_end_is_harmless() -> None:
    async def work(client: EngineClient) -> None:
        stream = client.submit(fake_request("a", "hello"))
        await text_of(stream)
        stream.abort()
        assert await text_of(client.submit(fake_request("b", "on"))) == continuation("on", 8)

    with_client(work)


def test_closing_ends_open_streams_with_an_error_and_frees_the_model() -> None:
    runner = HeldRunner(ENDLESS)

    async def work(client: EngineClient) -> None:
        stream = client.submit(fake_request("a", "x", max_tokens=None))
        await anext(stream)
        await client.close()
        await client.close()
        assert runner.is_closed
        with pytest.raises(EngineFailed, match="closed"):
            await text_of(stream)
        with pytest.raises(EngineFailed, match="closed"):
            client.submit(fake_request("b", "x"))

    with_client(work, runner)


def test_what_was_delivered_before_the_end_stays_readable() -> None:
    stream = detached(1)
    stream.put(output(0, "early"))
    stream.fail(EngineFailed("gone. Try again."))

    async def main() -> None:
        assert (await anext(stream)).text == "early"
        with pytest.raises(EngineFailed, match="gone"):
            await anext(stream)

    asyncio.run(main())


def test_an_engine_that_gives_up_tells_those_who_come_later() -> None:
    def crash(tokens: list[int]) -> int:
        raise RuntimeError("out of tea")

    async def work(client: EngineClient) -> None:
        for index in range(MAX_CRASHES):
            (last,) = [o async for o in client.submit(fake_request(str(index), "x"))]
            assert last.finish_reason is FinishReason.ERROR
        with pytest.raises(EngineFailed, match="out of tea"):
            while True:
                await text_of(client.submit(fake_request("later", "x")))
        assert isinstance(client.error, EngineFailed)

    with_client(work, FakeRunner(64, crash))


def test_a_load_that_fails_raises_its_own_error_and_can_be_closed() -> None:
    error = InvalidModelFile("no such luck. Try another file.")

    def build() -> tuple[Engine, LoadedModel]:
        raise error

    async def main() -> None:
        client = EngineClient(build, max_queue=256)
        with pytest.raises(InvalidModelFile) as raised:
            await client.start()
        assert raised.value is error is client.error
        await asyncio.wait_for(client.close(), 30)

    asyncio.run(main())


def test_a_load_that_crashes_is_an_engine_failure() -> None:
    def build() -> tuple[Engine, LoadedModel]:
        raise ZeroDivisionError("by zero")

    async def main() -> None:
        with pytest.raises(EngineFailed, match=r"by zero.*log"):
            await EngineClient(build, max_queue=256).start()

    asyncio.run(main())


def test_cancelling_who_waits_for_the_load_does_not_stop_it() -> None:
    may_load = threading.Event()

    def build() -> tuple[Engine, LoadedModel]:
        assert may_load.wait(30)
        return fake_engine(FakeRunner(64)), fake_model(64)

    async def main() -> None:
        client = EngineClient(build, max_queue=256)
        waiting = asyncio.ensure_future(client.start())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        may_load.set()
        assert await text_of(client.submit(fake_request("a", "hi"))) == continuation("hi", 8)
        await client.close()

    asyncio.run(main())
