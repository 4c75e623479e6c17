from __future__ import annotations

import logging

import pytest
from engine.test_engine import run
from fakes import HYBRID, FakeRunner, fake_engine, fake_request, next_token

from llmd.core.output import CacheReport, MissReason
from llmd.engine.engine import Engine
from llmd.engine.request import PromptLayout

SYSTEM = "system: be kind. "
RAM = 1 << 20


def report(engine: Engine, prompt: str, **fields: object) -> CacheReport:
    fields.setdefault("layouts", (PromptLayout(message_ends=(len(SYSTEM), len(prompt) - 2)),))
    engine.add(fake_request("a", prompt, cache_report=True, max_tokens=4, **fields))
    found = run(engine).last["a", 0].cache_report
    assert found is not None
    return found


def test_a_new_conversation_misses_nothing() -> None:
    found = report(fake_engine(FakeRunner(256)), SYSTEM + "hello")
    assert found == CacheReport(num_prompt=len(SYSTEM) + 5, num_cached=0)


def test_a_conversation_that_goes_on_misses_nothing() -> None:
    engine = fake_engine(FakeRunner(256))
    engine.add(fake_request("first", SYSTEM + "hello", max_tokens=4))
    said = run(engine).texts["first", 0]
    found = report(engine, SYSTEM + "hello" + said + " and")
    assert found.reason is None
    assert found.num_cached == len(SYSTEM + "hello" + said) - 1


def test_a_changed_prompt_is_shown_with_what_stood_there() -> None:
    engine = fake_engine(FakeRunner(256))
    report(engine, SYSTEM + "the color is red, you know")
    found = report(engine, SYSTEM + "the color is blue, you know")
    assert found.reason is MissReason.PROMPT_CHANGED
    assert found.position == found.num_cached == len(SYSTEM + "the color is ")
    assert (found.was, found.now) == ("olor is red, you", "olor is blue, yo")


def test_a_difference_within_the_tools_is_named() -> None:
    engine = fake_engine(FakeRunner(256))
    for tools in ("[add, sub]", "[add, mul]"):
        layout = PromptLayout(message_ends=(20,), tools=(8, 18))
        found = report(engine, f"system: {tools} hello", layouts=(layout,))
    assert found.reason is MissReason.TOOLS_CHANGED


@pytest.mark.parametrize("opening", ["", "<think>"])
def test_a_dropped_thought_is_named(opening: str) -> None:
    prompt = SYSTEM + "hello " + opening
    thought = ("" if opening else "<think>") + "hm</think>Hi"

    def think(tokens: list[int]) -> int:
        written = len(tokens) - len(prompt)
        return ord(thought[written]) if written < len(thought) else next_token(tokens)

    engine = fake_engine(FakeRunner(256, think))
    engine.add(fake_request("first", prompt, max_tokens=len(thought) + 1))
    run(engine)
    found = report(engine, SYSTEM + "hello Hi, and then")
    assert found.reason is MissReason.REASONING_DROPPED
    assert found.position == len(SYSTEM + "hello ")


def test_what_had_to_go_is_called_evicted() -> None:
    engine = fake_engine(FakeRunner(64))
    report(engine, SYSTEM + "remember this")
    report(engine, "x" * 58)
    found = report(engine, SYSTEM + "remember this")
    assert (found.reason, found.position) == (MissReason.EVICTED, 0)
    assert found.now == "system: "


def test_memory_without_a_checkpoint_at_the_place_is_a_gap() -> None:
    engine = fake_engine(FakeRunner(256, memory=HYBRID), cache_ram=RAM, context_size=128)
    text = SYSTEM + "one two three four five six"
    report(engine, text)
    found = report(
        engine,
        text[:-9] + "and so on",
    )  # between the two checkpoints
    assert found.reason is MissReason.CHECKPOINT_GAP
    assert found.num_cached == found.position == len(SYSTEM)


def test_the_same_text_under_another_key_is_named_and_not_shown() -> None:
    engine = fake_engine(FakeRunner(256))
    report(engine, SYSTEM + "my secret", scope="mine")
    found = report(engine, SYSTEM + "my secret", scope="yours")
    assert found.reason is MissReason.OTHER_KEY
    assert found.num_cached == found.position == 0
    assert found.was == ""


def test_the_log_explains_misses_when_it_listens(caplog: pytest.LogCaptureFixture) -> None:
    engine = fake_engine(FakeRunner(256))
    with caplog.at_level(logging.DEBUG, "llmd.cache"):
        for word in ("red", "blue"):
            engine.add(fake_request(word, SYSTEM + "the color is " + word))
            run(engine)
    assert "prompt_changed at token 30" in caplog.text
    assert "'olor is blue'" in caplog.text


def test_nobody_is_told_who_did_not_ask() -> None:
    engine = fake_engine(FakeRunner(256))
    engine.add(fake_request("a", "hello"))
    assert run(engine).last["a", 0].cache_report is None
