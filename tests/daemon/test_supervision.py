"""What a supervisor is told of a daemon as it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import FakeServer, fake_serving
from supervisor import Supervisor, supervising

from llmd.api.draining import Drain
from llmd.daemon.notify import Notifier
from llmd.daemon.supervision import Supervision, describe
from llmd.errors import ConfigError


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with supervising(tmp_path) as supervisor:
        yield supervisor


def supervision(server: FakeServer, supervisor: Supervisor) -> Supervision:
    notifier = Notifier({"NOTIFY_SOCKET": supervisor.address})
    return Supervision(notifier, server.live.registry, Drain())


def test_a_load_is_told_and_gets_time_while_it_comes_further(supervisor: Supervisor) -> None:
    with fake_serving(may_load=False) as server, server.live.client() as client:
        while "loading fake" not in client.get("/readyz").text:
            pass
        server.instance.load_progress = 0.4
        telling = supervision(server, supervisor)
        telling.look()
        assert supervisor.take() == {"STATUS": "loading fake: 40 %"}
        assert supervisor.take() == {"EXTEND_TIMEOUT_USEC": "120000000"}
        telling.look()
        server.instance.load_progress = 0.404
        telling.look()
        assert supervisor.take() == {"EXTEND_TIMEOUT_USEC": "120000000"}
        telling.look()
        telling.stopping(1)
        assert "STOPPING" in supervisor.take(), "a load that stands still got more time"


def test_who_is_served_is_counted(supervisor: Supervisor) -> None:
    with fake_serving(num_sequences=1) as server, server.live.client() as client:
        registry, drain = server.live.registry, server.live.state.drain
        assert describe(registry, drain) == "serving fake, 0 running, 0 waiting"
        telling = supervision(server, supervisor)
        telling.ready()
        assert supervisor.take() == {
            "READY": "1", "STATUS": "serving fake, 0 running, 0 waiting",
        }  # fmt: skip
        body = {"prompt": "a", "max_tokens": -1, "n": 3, "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as answer:
            chunks = answer.iter_raw()
            next(chunks)
            server.runner.hold()
            telling.look()
            assert supervisor.take() == {"STATUS": "serving fake, 1 running, 2 waiting"}
            drain.begin()
            assert describe(registry, drain) == "stopping, 1 requests are finishing"
            server.runner.release()


def test_a_reload_ends_with_ready_also_where_it_fails(supervisor: Supervisor) -> None:
    with fake_serving() as server:
        telling = supervision(server, supervisor)
        with telling.reloading():
            pass
        telling.ready()
        assert "READY" in supervisor.take(), "a reload during the start told something"
        with telling.reloading():
            pass
        assert "RELOADING" in supervisor.take()
        assert supervisor.take()["STATUS"].startswith("serving fake")
        with pytest.raises(ConfigError), telling.reloading():
            raise ConfigError("line 3: unknown key. Correct it.")
        assert "RELOADING" in supervisor.take()
        notice = supervisor.take()
        assert notice["READY"] == "1"
        assert notice["STATUS"].endswith("is not reloaded: line 3: unknown key. Correct it.")


def test_the_watchdog_is_fed_twice_as_often_as_it_asks_and_only_while_all_lives(
    supervisor: Supervisor,
) -> None:
    environ = {"NOTIFY_SOCKET": supervisor.address, "WATCHDOG_USEC": "200000"}
    alive = [True, True, False, True]

    async def main(server: FakeServer) -> None:
        asked = asyncio.Event()

        def is_alive() -> bool:
            if len(alive) == 1:
                asked.set()
            return alive.pop(0) if alive else True

        telling = Supervision(Notifier(environ), server.live.registry, Drain(), is_alive=is_alive)
        running = asyncio.ensure_future(telling.run())
        await asked.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with fake_serving() as server:
        began = time.monotonic()
        asyncio.run(main(server))
        assert 0.3 <= time.monotonic() - began < 0.8
    fed = [supervisor.wait_for("WATCHDOG") for _ in range(3)]
    assert len(fed) == 3
    Notifier({"NOTIFY_SOCKET": supervisor.address}).status("over")
    assert "STATUS" in supervisor.take(), "it was fed while something was stuck"


def test_without_a_supervisor_nothing_runs() -> None:
    with fake_serving() as server:
        asyncio.run(Supervision(Notifier({}), server.live.registry, Drain()).run())
