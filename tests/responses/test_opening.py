from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from llmd.config.settings import ServerSettings
from llmd.errors import StartupError
from llmd.responses.database import FILE_NAME
from llmd.responses.opening import find_directory, open_store


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"STATE_DIRECTORY": "/var/lib/llmd", "XDG_STATE_HOME": "/x", "HOME": "/h"},
            "/var/lib/llmd",
        ),
        ({"STATE_DIRECTORY": "/a:/b"}, "/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/llmd"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/llmd"),
        ({"HOME": "/h"}, "/h/.local/state/llmd"),
    ],
)
def test_the_directory_is_where_the_system_says(environ: dict[str, str], expected: str) -> None:
    assert find_directory(environ) == Path(expected)


def open_and_close(settings: ServerSettings, environ: dict[str, str]) -> None:
    asyncio.run(open_store(settings, environ).close())


def test_auto_makes_the_directory(tmp_path: Path) -> None:
    open_and_close(ServerSettings(), {"STATE_DIRECTORY": str(tmp_path / "s")})
    assert (tmp_path / "s" / FILE_NAME).exists()


def test_a_named_directory_wins(tmp_path: Path) -> None:
    settings = ServerSettings(state_dir=tmp_path / "mine")
    open_and_close(settings, {"STATE_DIRECTORY": str(tmp_path / "s")})
    assert (tmp_path / "mine" / FILE_NAME).exists()
    assert not (tmp_path / "s").exists()


def test_none_keeps_nothing_on_disk(tmp_path: Path) -> None:
    open_and_close(ServerSettings(state_dir="none"), {"STATE_DIRECTORY": str(tmp_path / "s")})
    assert not (tmp_path / "s").exists()


def test_a_named_directory_that_cannot_be_used_keeps_the_daemon_from_starting(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot keep state in .*--state-dir, or none"):
        open_store(ServerSettings(state_dir=tmp_path / "file" / "s"), {})


def test_a_found_directory_that_cannot_be_used_leaves_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    open_and_close(ServerSettings(), {"STATE_DIRECTORY": str(tmp_path / "file" / "s")})
    (line,) = caplog.records
    assert line.levelno == logging.WARNING and "--state-dir" in line.getMessage()
