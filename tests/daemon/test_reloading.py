from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmd.api.state import ApiState
from llmd.config.api_keys import hash_of
from llmd.config.load import load
from llmd.config.settings import ServerSettings
from llmd.daemon.load_log import LoadLog
from llmd.daemon.notify import Notifier
from llmd.daemon.reloading import FIXED, Reloading
from llmd.daemon.supervision import Supervision
from llmd.errors import ConfigError
from llmd.registry.instance import ModelInstance
from llmd.registry.registry import ModelRegistry
from llmd.responses.opening import memory_store


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("llmd", "uvicorn", "asyncio")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


class Daemon:
    """What a reload works on, with nothing loaded."""

    def __init__(self, path: Path) -> None:
        loaded = load({}, path, {}, path.parent)
        settings = loaded.settings
        instances = [ModelInstance(name, None, each) for name, each in settings.models.items()]
        self.state = ApiState(
            ModelRegistry(instances), settings.server, memory_store(settings.server)
        )
        self.grace: int | None = None
        supervision = Supervision(Notifier({}), self.state.registry, self.state.drain)
        self.reloading = Reloading(
            loaded, self.state, LoadLog(loaded), self._set_grace, supervision
        )

    def _set_grace(self, seconds: int) -> None:
        self.grace = seconds


def with_daemon(path: Path, text: str, work: Callable[[Daemon], Coroutine[Any, Any, None]]) -> None:
    path.write_text(text)

    async def main() -> None:
        daemon = Daemon(path)
        try:
            await work(daemon)
        finally:
            await daemon.state.close()
            await daemon.state.registry.close()

    asyncio.run(main())


def test_keys_that_hold_until_the_end_are_keys() -> None:
    assert ServerSettings.model_fields.keys() >= FIXED


def test_what_can_change_does_and_the_rest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "llmd.toml"

    async def work(daemon: Daemon) -> None:
        path.write_text(
            "[server]\nport = 1\nuds = 's'\nlog_level = 'warning'\nshutdown_grace = 3\n"
            "strict_model_names = true\nsse_ping_interval = 2\nrecord = 'kept'\n"
        )
        done = await daemon.reloading.reload()
        assert set(done.applied) == {
            "server.log_level",
            "server.shutdown_grace",
            "server.strict_model_names",
            "server.sse_ping_interval",
            "server.record",
        }
        assert set(done.needs_restart) == {"server.port", "server.uds"}
        assert done.file == path
        running = daemon.state.settings
        assert (running.port, running.uds, running.sse_ping_interval) == (8080, None, 2)
        assert logging.getLogger("llmd").level == logging.WARNING
        assert daemon.grace == 3
        assert daemon.state.recordings.is_on
        again = await daemon.reloading.reload()
        assert (again.applied, set(again.needs_restart)) == ((), set(done.needs_restart))

    with_daemon(path, "", work)


def test_a_faulty_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "llmd.toml"

    async def work(daemon: Daemon) -> None:
        before = daemon.state.settings
        path.write_text("[server]\nsse_ping_interval = 2\nmax_body_bytes = 'many'\n[models.new]\n")
        with pytest.raises(ConfigError, match="line 3"):
            await daemon.reloading.reload()
        assert daemon.state.settings is before
        assert [instance.name for instance in daemon.state.registry.list()] == ["tiny"]
        (tmp_path / "file").write_text("")
        path.write_text("[server]\nsse_ping_interval = 2\nrecord = 'file/inside'\n[models.new]\n")
        with pytest.raises(ConfigError, match="--record"):
            await daemon.reloading.reload()
        assert daemon.state.settings is before
        path.write_text("[models.new]\n")
        assert (await daemon.reloading.reload()).models.added == ("new",)

    with_daemon(path, "", work)


def test_a_signal_with_a_faulty_file_is_told_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "llmd.toml"

    async def work(daemon: Daemon) -> None:
        path.write_text("x = 1\n")
        daemon.reloading.reload_soon()
        await asyncio.wait(daemon.reloading._tasks)

    with_daemon(path, "", work)
    assert any("line 1: unknown key x" in record.getMessage() for record in caplog.records)


def test_other_keys_hold_at_once_and_are_told_without_their_names(tmp_path: Path) -> None:
    path, keys = tmp_path / "llmd.toml", tmp_path / "keys.toml"
    keys.write_text(f'[keys.alice]\nhash = "{hash_of("old")}"')

    async def work(daemon: Daemon) -> None:
        assert daemon.state.keys.is_empty, "the daemon's start sets them"
        keys.write_text(f'[keys.alice]\nhash = "{hash_of("new")}"')
        done = await daemon.reloading.reload()
        assert done.applied == ("keys",)
        assert daemon.state.keys.find("new") and not daemon.state.keys.find("old")
        for broken in ("", "[keys.alice]", None):
            keys.write_text(broken) if broken is not None else keys.unlink()
            with pytest.raises(ConfigError, match=r"keys\.toml"):
                await daemon.reloading.reload()
            assert daemon.state.keys.find("new"), "a fault must not open the daemon"

    with_daemon(path, "[server]\nkeys_file = 'keys.toml'", work)
