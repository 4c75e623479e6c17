from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from fake_server import FakeInstance, HeldRunner, says
from fakes import END

from llmd.core.event import Event, Finished, PromptAdvanced, PromptEcho, TextDelta
from llmd.core.message import Message
from llmd.core.output import CacheReport, FinishReason, Output, PromptProgress, Timings
from llmd.core.request import ChatPrompt, GenerateRequest, InfillPrompt, TextPrompt, TokenPrompt
from llmd.engine.request import Request
from llmd.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidRequest,
    QueueFull,
    Unsupported,
)
from llmd.registry.registry import ModelRegistry
from llmd.serving.generation import Generation, start_generation
from llmd.serving.prompt import LONG_TEXT

HELLO = TextPrompt(text="hello")
CHAT = ChatPrompt(messages=(Message(role="user", content="hi"),))
CONTEXT_SIZE = 256

Start = Callable[..., Coroutine[Any, Any, Generation]]


def with_model(
    work: Callable[[FakeInstance, Start], Coroutine[Any, Any, None]],
    context_size: int = CONTEXT_SIZE,
) -> None:
    """Run `work` with a loaded fake, and with what starts a generation on it."""

    async def main() -> None:
        instance = FakeInstance(HeldRunner(context_size), num_sequences=4, error=None)
        instance.may_load.set()
        registry = ModelRegistry([instance])
        await instance.load()

        async def start(*prompts: Any, **fields: Any) -> Generation:
            request = GenerateRequest(model=None, prompts=prompts or (HELLO,), **fields)
            return await start_generation(registry, request)

        try:
            await work(instance, start)
        finally:
            await registry.close()

    asyncio.run(asyncio.wait_for(main(), 30))


async def events(generation: Generation) -> list[Event]:
    return [event async for event in generation.events()]


def text_of(found: list[Event], index: int = 0) -> str:
    return "".join(e.text for e in found if isinstance(e, TextDelta) and e.index == index)


async def submitted(instance: FakeInstance, start: Start, *prompts: Any, **fields: Any) -> Request:
    """What the engine gets of a request."""
    got: list[Request] = []
    submit = instance.client.submit

    def record(request: Request) -> Any:
        got.append(request)
        return submit(request)

    instance.client.submit = record  # type: ignore[method-assign]
    (await start(*prompts, **fields)).close()
    return got[0]


def test_a_generation_is_text_and_an_end() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        generation = await start(max_tokens=5)
        found = await events(generation)
        assert text_of(found) == says("hello", 5)
        last = found[-1]
        assert isinstance(last, Finished) and last.reason is FinishReason.LENGTH
        assert generation.num_prompt_tokens == (5,)
        assert (generation.model_name, generation.fingerprint) == ("fake", "fake")

    with_model(work)


def test_a_chat_is_rendered_by_the_models_template() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        prompt = ChatPrompt(messages=(Message(role="user", content="hi"),))
        assert text_of(await events(await start(prompt, max_tokens=4))) == says("[user]hi>", 4)

    with_model(work)


def test_choices_are_numbered_prompt_by_prompt() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        generation = await start(
            HELLO, TokenPrompt(token_ids=tuple(b"bye")), num_choices=2, max_tokens=3
        )
        found = await events(generation)
        texts = [text_of(found, index) for index in range(4)]
        assert texts == [says("hello", 3)] * 2 + [says("bye", 3)] * 2
        assert generation.num_prompt_tokens == (5, 3)

    with_model(work)


def test_an_echo_comes_first_for_every_choice() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        found = await events(await start(echo=True, num_choices=2, max_tokens=2))
        echoes = [event for event in found if isinstance(event, PromptEcho)]
        assert [(each.index, b"".join(each.tokens)) for each in echoes] == [
            (0, b"hello"), (1, b"hello"),
        ]  # fmt: skip
        assert found[:2] == echoes

    with_model(work)


def test_an_echo_with_logprobs_has_one_for_each_token() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        found = await events(await start(echo=True, top_logprobs=0, max_tokens=1))
        (echo,) = [event for event in found if isinstance(event, PromptEcho)]
        assert echo.logprobs[0] is None
        assert [each.chosen.text for each in echo.logprobs[1:] if each] == [b"e", b"l", b"l", b"o"]

    with_model(work)


def test_a_prompt_without_room_for_a_token_is_too_long() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        long = "x" * CONTEXT_SIZE
        chat = ChatPrompt(messages=(Message(role="user", content=long),))
        for prompt, param in ((TextPrompt(text=long), "prompt"), (chat, "messages")):
            with pytest.raises(ContextLengthExceeded) as raised:
                await start(prompt)
            assert raised.value.param == param
            assert raised.value.context_size == CONTEXT_SIZE
        fits = await start(TextPrompt(text="x" * (CONTEXT_SIZE - 1)))
        assert len(text_of(await events(fits))) == 1

    with_model(work)


def test_long_text_is_encoded_beside_the_event_loop() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        threads: list[bool] = []
        tokenizer: Any = instance.model.tokenizer
        encode = tokenizer.encode

        def spy(*arguments: Any, **options: Any) -> Any:
            threads.append(threading.current_thread() is threading.main_thread())
            return encode(*arguments, **options)

        tokenizer.encode = spy
        for length in (10, LONG_TEXT + 1):
            (await start(TextPrompt(text="x" * length))).close()
        assert threads == [True, False]

    with_model(work, context_size=2 * LONG_TEXT)


def test_an_empty_prompt_begins_with_the_end_where_there_is_no_beginning() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        request = await submitted(instance, start)
        assert request.prompts == (tuple(b"hello"),)
        generation = await start(TextPrompt(text=""))
        assert generation.num_prompt_tokens == (1,)
        generation.close()

    with_model(work)


@pytest.mark.parametrize("token_ids", [(), (-1,), (5, 257)])
def test_token_ids_are_checked(token_ids: tuple[int, ...]) -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        with pytest.raises(InvalidRequest) as raised:
            await start(TokenPrompt(token_ids=token_ids))
        assert raised.value.param == "prompt"

    with_model(work)


def test_an_infill_puts_the_gap_last() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        tokenizer: Any = instance.model.tokenizer
        tokenizer.fim_ids = (1, 2, 3)
        request = await submitted(instance, start, InfillPrompt(prefix="ab", suffix="c"))
        assert request.prompts == ((1, *b"ab", 2, *b"c", 3),)

    with_model(work)


def test_an_infill_needs_a_model_with_its_tokens() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        with pytest.raises(Unsupported) as raised:
            await start(InfillPrompt(prefix="ab", suffix="c"))
        assert raised.value.param == "suffix"

    with_model(work)


def test_ignore_eos_bans_what_ends_a_turn() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        request = await submitted(instance, start, sampling={"ignore_eos": True})
        assert request.sampling.logit_bias == ((END, float("-inf")),)

    with_model(work)


def test_a_ban_wins_over_a_bias() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        tokenizer: Any = instance.model.tokenizer
        tokenizer.suppressed_ids = (7,)
        bias = {"logit_bias": ((7, 5.0), (8, 1.0))}
        request = await submitted(instance, start, sampling=bias)
        assert request.sampling.logit_bias == ((8, 1.0), (7, float("-inf")))

    with_model(work)


def test_a_bias_outside_the_vocabulary_is_refused() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        with pytest.raises(InvalidRequest) as raised:
            await start(sampling={"logit_bias": ((257, 1.0),)})
        assert raised.value.param == "logit_bias"

    with_model(work)


def test_a_seed_is_the_requests_own_or_a_fresh_one() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        assert (await submitted(instance, start, sampling={"seed": 5})).seed == 5
        seeds = {(await submitted(instance, start)).seed for _ in range(5)}
        assert len(seeds) == 5

    with_model(work)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", "somebody"),
        ("priority", 7),
        ("cache_prompt", False),
        ("deterministic", True),
        ("return_progress", True),
        ("cache_report", True),
    ],
)
def test_what_the_engine_must_know_reaches_it(field: str, value: Any) -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        assert getattr(await submitted(instance, start), field) != value
        assert getattr(await submitted(instance, start, **{field: value}), field) == value

    with_model(work)


def test_a_scope_is_one_tenants_and_one_templates() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        async def scope(prompt: Any, **fields: Any) -> str:
            return (await submitted(instance, start, prompt, **fields)).scope

        chat = await scope(CHAT)
        other_chat = ChatPrompt(messages=(Message(role="user", content="bye"),))
        assert chat == await scope(other_chat, priority=1, max_tokens=2)
        scopes = [chat, await scope(HELLO), await scope(CHAT, tenant="a"),
                  await scope(HELLO, tenant="a"), await scope(CHAT, tenant="b")]  # fmt: skip
        instance.template.source += " "
        scopes.append(await scope(CHAT))
        assert len(set(scopes)) == len(scopes)
        assert scopes[1] == await scope(TokenPrompt(token_ids=(1,)))
        assert all(len(each) == 32 and each.isalnum() for each in scopes)

    with_model(work)


def test_a_layout_goes_with_every_prompt_or_with_none() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        chat = await submitted(instance, start, CHAT, CHAT, cache_report=True)
        assert len(chat.layouts) == 2 and chat.layouts[0].message_ends
        mixed = await submitted(instance, start, CHAT, HELLO, cache_report=True)
        assert mixed.layouts == ()

    with_model(work)


@pytest.mark.parametrize(
    ("fields", "has_layout"),
    [
        ({}, True),
        ({"cache_prompt": False}, False),
        ({"deterministic": True}, False),
        ({"cache_prompt": False, "cache_report": True}, True),
    ],
)
def test_a_layout_is_found_only_for_what_uses_it(fields: dict[str, Any], has_layout: bool) -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        assert bool((await submitted(instance, start, CHAT, **fields)).layouts) is has_layout

    with_model(work)


def test_progress_comes_before_the_text_it_came_with() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        instance.runner.hold_next()
        generation = await start()
        generation._outputs.put(_output(progress=_progress(2)))
        found = generation.events()
        first = await anext(found)
        generation._outputs.put(_output(progress=_progress(5), text="a"))
        assert [first, await anext(found), await anext(found)] == [
            PromptAdvanced(0, replace(_progress(2), elapsed_ms=0.0)),
            PromptAdvanced(0, _progress(5)),
            TextDelta(0, "a"),
        ]
        generation.close()
        instance.runner.release()

    with_model(work)


def test_progress_begins_with_what_is_cached_also_for_who_reads_late() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        instance.runner.hold_next()
        generation = await start(num_choices=2)
        for index in (1, 0):
            for num_processed in (2, 3, 5):
                progress = _progress(num_processed)
                generation._outputs.put(_output(index, progress=progress))
        found = generation.events()
        events = [await anext(found) for _ in range(4)]
        assert [(e.index, e.progress.num_processed) for e in events
                if isinstance(e, PromptAdvanced)] == [(1, 2), (1, 5), (0, 2), (0, 5)]  # fmt: skip
        generation.close()
        instance.runner.release()

    with_model(work)


def _progress(num_processed: int) -> PromptProgress:
    return PromptProgress(
        num_total=5, num_cached=2, num_processed=num_processed, elapsed_ms=num_processed
    )


def test_the_first_choice_alone_reports_on_the_cache() -> None:
    report = CacheReport(num_prompt=5, num_cached=4)

    async def work(instance: FakeInstance, start: Start) -> None:
        instance.runner.hold_next()
        generation = await start(HELLO, HELLO, num_choices=2)
        for index in (1, 0, 3, 2):
            generation._outputs.put(
                _output(index, finish_reason=FinishReason.STOP, timings=TIMINGS, report=report)
            )
        found = [event for event in await events(generation) if isinstance(event, Finished)]
        assert {event.index: event.cache_report for event in found} == {
            0: report, 1: None, 2: report, 3: None,
        }  # fmt: skip
        generation.close()
        instance.runner.release()

    with_model(work)


TIMINGS = Timings(num_cached=0, num_prompt=5, prompt_ms=1.0, num_generated=1, generated_ms=1.0)


def _output(
    index: int = 0, *, text: str = "", report: CacheReport | None = None, **fields: Any
) -> Output:
    return Output(
        request_id="", index=index, text=text, num_tokens=1, cache_report=report, **fields
    )


def test_an_engine_that_has_enough_to_do_takes_no_more() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        endless = await start(num_choices=4)
        # As many as may wait beside the four that run.
        many = await start(num_choices=instance.settings.max_queue)
        with pytest.raises(QueueFull):
            await start()
        many.close()
        (await start()).close()
        endless.close()

    with_model(work, context_size=1 << 16)


def test_closing_stops_it_and_may_be_repeated() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        generation = await start()
        generation.close()
        generation.close()
        again = await start(max_tokens=2)
        assert text_of(await events(again)) == says("hello", 2)
        assert instance.engine.is_idle

    with_model(work)


def test_an_engine_that_ends_under_way_raises() -> None:
    async def work(instance: FakeInstance, start: Start) -> None:
        generation = await start()
        await instance.client.close()
        with pytest.raises(EngineFailed):
            await events(generation)

    with_model(work, context_size=1 << 20)
