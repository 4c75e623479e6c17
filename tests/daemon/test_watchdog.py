"""An engine that is held inside a step, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

import pytest
from api.raw_client import connected, data_lines
from clocks import FakeClock
from exposition import Scrape
from fake_server import FakeServer, fake_serving

from llmd.config.duration import Duration
from llmd.config.settings import ServerSettings
from llmd.daemon.stacks import all_stacks
from llmd.daemon.watchdog import LOOK_INTERVAL, Watchdog

STUCK_AFTER = 20.0
ENDLESS = {"prompt": "ggg", "max_tokens": -1, "stream": True}


class Watching:
    """A watchdog over a server, as its daemon would run it."""

    def __init__(self, server: FakeServer, *, is_supervised: bool = False) -> None:
        self.clock = FakeClock()
        self.num_ends = 0
        self.watchdog = Watchdog(
            server.live.state, is_supervised=is_supervised, end=self.end, clock=self.clock.time
        )

    def end(self) -> None:
        self.num_ends += 1

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_INTERVAL)):
            self.clock.advance(LOOK_INTERVAL)
            self.watchdog.look()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_serving(ServerSettings(stuck_after=Duration(STUCK_AFTER))) as server:
        yield server


@pytest.fixture
def held(server: FakeServer) -> Iterator[Iterator[bytes]]:
    """The rest of a stream whose engine is inside a step."""
    with connected(server.live.port) as reader:
        reader.post("/v1/completions", ENDLESS)
        reader.read_head()
        chunks = reader.chunks()
        next(chunks)
        server.runner.hold()
        yield chunks
        server.runner.release()


def test_a_step_that_does_not_end_makes_the_daemon_not_ready_and_alive(
    server: FakeServer, held: Iterator[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    watching = Watching(server)
    with server.live.client() as client:
        watching.pass_time(STUCK_AFTER)
        assert client.get("/readyz").status_code == 200
        with caplog.at_level(logging.CRITICAL, "llmd.daemon"):
            watching.pass_time(2 * STUCK_AFTER)
        ready, live = client.get("/readyz"), client.get("/livez")
        assert (ready.status_code, live.status_code) == (503, 200)
        assert "the engine of fake gets no further" in ready.json()["error"]["message"]
        assert Scrape(client).value("llmd_model_stuck", model="fake") == 1
        assert watching.num_ends == 0
        (told,) = caplog.records  # once, however long it takes
        assert "fake has been at one step for 2" in told.getMessage()
        assert "in forward" in vars(told)["stacks"], "the engine's thread is missing"

        server.runner.release()
        server.runner.hold()  # another step
        watching.pass_time(LOOK_INTERVAL)
        assert client.get("/readyz").status_code == 200
        assert Scrape(client).value("llmd_model_stuck", model="fake") == 0


def test_a_daemon_that_was_stopped_meanwhile_is_not_stuck(
    server: FakeServer, held: Iterator[bytes]
) -> None:
    watching = Watching(server)
    watching.pass_time(LOOK_INTERVAL)
    watching.clock.advance(3600)
    watching.pass_time(LOOK_INTERVAL)
    assert server.live.state.stuck == set()


def test_an_engine_that_is_known_to_be_slow_gets_more_time(
    server: FakeServer, held: Iterator[bytes]
) -> None:
    watching = Watching(server)
    server.instance.client._thread.longest_seconds = STUCK_AFTER
    watching.pass_time(4.5 * STUCK_AFTER)
    assert server.live.state.stuck == set()
    watching.pass_time(STUCK_AFTER)
    assert server.live.state.stuck == {"fake"}


def test_an_engine_that_has_nothing_to_do_is_not_stuck(server: FakeServer) -> None:
    with server.live.client() as client:
        client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).raise_for_status()
    while server.instance.busy_since is not None:
        pass
    watching = Watching(server)
    watching.pass_time(10 * STUCK_AFTER)
    assert server.live.state.stuck == set()


def test_zero_is_never(server: FakeServer, held: Iterator[bytes]) -> None:
    server.live.state.settings = ServerSettings(stuck_after=Duration(0))
    watching = Watching(server, is_supervised=True)
    watching.pass_time(100 * STUCK_AFTER)
    assert server.live.state.stuck == set()


@pytest.mark.parametrize("is_supervised", [True, False])
def test_where_somebody_starts_it_again_it_ends_with_a_clear_error_for_the_clients(
    server: FakeServer, held: Iterator[bytes], is_supervised: bool
) -> None:
    state = server.live.state
    state.settings = ServerSettings(
        stuck_after=Duration(STUCK_AFTER), exit_when_stuck=not is_supervised
    )
    watching = Watching(server, is_supervised=is_supervised)

    async def on_the_loop() -> None:
        watching.pass_time(3 * STUCK_AFTER)

    asyncio.run_coroutine_threadsafe(on_the_loop(), server.instance.client._loop).result(10)
    assert watching.num_ends == 1
    error = watching.watchdog.error
    assert error is not None and error.message.startswith("the engine of fake got no further")
    *_, last, done = data_lines(b"".join(held))
    assert "llmd starts again" in last and done == "[DONE]"


def test_stacks_find_their_way_where_no_file_can_be_made(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("llmd.daemon.stacks.tempfile.TemporaryFile", refuse)
    assert "Read-only file system" in all_stacks()
    assert "in all_stacks" in capfd.readouterr().err
