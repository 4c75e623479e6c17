from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
from fake_server import fake_model
from fakes import FakeRunner, continuation, fake_engine, fake_request
from live import PATIENCE

from llmd.core.output import FinishReason, Output
from llmd.engine.engine import Engine
from llmd.engine.loading import LoadedModel
from llmd.engine.notice import Ended, Loaded, LoadFailed, Notice, Stepped
from llmd.engine.request import Abort, Close, Submit
from llmd.engine.thread import MAX_CRASHES, EngineThread
from llmd.errors import EngineFailed, NotEnoughMemory


class FragileRunner(FakeRunner):
    """Raises in as many steps as `num_failures` says."""

    num_failures = 0

    def forward(self, batch: Any) -> Any:
        if self.num_failures:
            self.num_failures -= 1
            raise RuntimeError("out of tea")
        return super().forward(batch)


class Running:
    """An EngineThread and what it publishes."""

    def __init__(self, runner: FakeRunner) -> None:
        self.engine = fake_engine(runner)
        self.notices: SimpleQueue[Notice] = SimpleQueue()
        self.thread = EngineThread(self._build, self.notices.put)

    def _build(self) -> tuple[Engine, LoadedModel]:
        return self.engine, fake_model(64)

    def submit(self, id: str, prompt: str = "hello", **fields: Any) -> None:
        self.thread.send(Submit(fake_request(id, prompt, **fields)))

    def next(self) -> Notice:
        return self.notices.get(timeout=PATIENCE)

    def finish(self, id: str) -> tuple[str, Output]:
        """The whole text of a request and its last output."""
        text = ""
        while True:
            notice = self.next()
            assert isinstance(notice, Stepped), notice
            for output in notice.outputs:
                if output.request_id == id:
                    text += output.text
                    if output.finish_reason is not None:
                        return text, output


@contextmanager
def running(runner: FakeRunner | None = None) -> Iterator[Running]:
    found = Running(runner or FakeRunner(64))
    found.thread.start()
    assert isinstance(found.next(), Loaded)
    try:
        yield found
    finally:
        found.thread.send(Close())
        found.thread.join(PATIENCE)


def test_a_step_that_crashes_fails_what_runs_and_the_engine_goes_on() -> None:
    runner = FragileRunner(64)
    runner.num_failures = 1
    with running(runner) as engine:
        engine.submit("a")
        text, last = engine.finish("a")
        assert (text, last.finish_reason) == ("", FinishReason.ERROR)
        assert "goes on" in (last.error or "")
        engine.submit("b")
        assert engine.finish("b")[0] == continuation("hello", 8)


def test_crashes_apart_from_each_other_are_forgiven() -> None:
    runner = FragileRunner(64)
    with running(runner) as engine:
        for index in range(MAX_CRASHES * 2):
            runner.num_failures = 1
            engine.submit(f"bad {index}")
            engine.finish(f"bad {index}")
            engine.submit(f"good {index}")
            assert engine.finish(f"good {index}")[1].finish_reason is FinishReason.LENGTH


def test_an_engine_that_keeps_crashing_is_given_up() -> None:
    runner = FragileRunner(64)
    runner.num_failures = 1000
    with running(runner) as engine:
        for index in range(MAX_CRASHES):
            engine.submit(str(index))
            assert engine.finish(str(index))[1].finish_reason is FinishReason.ERROR
        ended = engine.next()
        assert isinstance(ended, Ended)
        assert isinstance(ended.error, EngineFailed)
        assert "loads the model anew" in ended.error.message
        assert runner.is_closed


def test_a_model_that_computes_nothing_any_more_is_given_up_with_its_reason() -> None:
    runner = FakeRunner(64)
    runner.poison = ord("x")
    with running(runner) as engine:
        for index in range(3):
            engine.submit(str(index), "x")
        last = engine.next()
        while isinstance(last, Stepped):
            last = engine.next()
    assert isinstance(last, Ended)
    assert last.error is not None and "fails to compute" in last.error.message


def test_a_request_that_cannot_be_taken_fails_alone() -> None:
    with running() as engine:
        engine.submit("too long", "x" * 64)  # no room for a single token: never sent by serving
        assert engine.finish("too long")[1].finish_reason is FinishReason.ERROR
        engine.submit("b")
        assert engine.finish("b")[0] == continuation("hello", 8)


def test_close_frees_the_model_and_says_so_last() -> None:
    runner = FakeRunner(64)
    with running(runner) as engine:
        engine.thread.send(Close())
        assert engine.next() == Ended(None)
        assert runner.is_closed


def test_an_abort_is_heeded_while_the_engine_idles() -> None:
    with running() as engine:
        engine.thread.send(Abort("nobody"))
        engine.submit("a")
        assert engine.finish("a")[0] == continuation("hello", 8)


@pytest.mark.parametrize("error", [NotEnoughMemory("too big. Use less."), ValueError("a bug")])
def test_a_load_that_fails_is_told(error: Exception) -> None:
    def build() -> tuple[Engine, LoadedModel]:
        raise error

    notices: SimpleQueue[Notice] = SimpleQueue()
    thread = EngineThread(build, notices.put)
    thread.start()
    thread.join(PATIENCE)
    notice = notices.get_nowait()
    assert isinstance(notice, LoadFailed)
    expected = error if isinstance(error, NotEnoughMemory) else None
    assert notice.error is expected or isinstance(notice.error, EngineFailed)
    assert notices.empty()


def test_what_it_is_at_can_be_seen_from_outside() -> None:
    runner = FakeRunner(64)
    seen: list[float | None] = []
    with running(runner) as engine:
        compute = runner.forward

        def watched(batch: Any) -> Any:
            seen.append(engine.thread.busy_since)
            return compute(batch)

        runner.forward = watched  # type: ignore[method-assign]
        before = time.monotonic()
        engine.submit("a")
        engine.finish("a")
        while engine.thread.busy_since is not None:
            assert time.monotonic() < before + PATIENCE
        times = [since for since in seen if since is not None]
        assert len(times) == len(seen) and times == sorted(set(times)), "each step has its own"
        assert before <= times[0] and times[-1] <= time.monotonic()
        assert 0 < engine.thread.longest_seconds < time.monotonic() - before


def test_an_abort_is_told_in_the_numbers_at_once() -> None:
    with running() as engine:
        engine.thread.send(Abort("nobody"))
        notice = engine.next()
        assert isinstance(notice, Stepped)
        assert (notice.outputs, notice.stats.num_running) == ((), 0)
