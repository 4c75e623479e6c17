"""`[server] record` while the daemon runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from daemon.test_reloading import Daemon, logs_as_before, with_daemon  # noqa: F401

from llmd.errors import ConfigError


def test_recording_begins_and_ends_with_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "llmd.toml"

    async def work(daemon: Daemon) -> None:
        recordings = daemon.state.recordings
        assert not recordings.is_on
        path.write_text("[server]\nrecord = 'r'\nrecord_max_bytes = '1MiB'\n")
        done = await daemon.reloading.reload()
        assert set(done.applied) == {"server.record", "server.record_max_bytes"}
        assert recordings.is_on and (tmp_path / "r").is_dir()
        path.write_text("")
        await daemon.reloading.reload()
        assert not recordings.is_on

    with_daemon(path, "", work)


def test_a_directory_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "llmd.toml"

    async def work(daemon: Daemon) -> None:
        (tmp_path / "r").touch()
        path.write_text("[server]\nrecord = 'r'\nlog_level = 'error'\n")
        with pytest.raises(ConfigError, match="--record"):
            await daemon.reloading.reload()
        assert daemon.state.settings.log_level == "info"

    with_daemon(path, "", work)
