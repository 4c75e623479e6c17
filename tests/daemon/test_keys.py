"""Keys of a daemon that runs: what it says at the start, and other keys by a reload."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmd.config.api_keys import hash_of
from llmd.config.load import LoadedSettings, load
from llmd.config.settings import ServerSettings
from llmd.daemon.key_warnings import warn_of_keys
from llmd.daemon.listener import bind


def loaded(directory: Path, **flags: object) -> LoadedSettings:
    return load({f"server.{name}": value for name, value in flags.items()}, None, {}, directory)


def warn(found: LoadedSettings) -> None:
    warn_of_keys(found.settings, found.read_keys())


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "llmd.daemon"):
        yield caplog


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "llm.example"])
def test_a_daemon_that_anybody_may_use_says_so_and_how_to_change_it(
    host: str, tmp_path: Path, told: pytest.LogCaptureFixture
) -> None:
    warn(loaded(tmp_path, host=host))
    (message,) = told.messages
    assert host in message and "LLMD_API_KEY" in message and "llmd key new" in message


@pytest.mark.parametrize(
    "flags",
    [
        {"host": "127.0.0.1"},
        {"host": "::1"},
        {"host": "localhost"},
        {"host": "0.0.0.0", "api_key": ("a",)},
        {"host": "0.0.0.0", "uds": "llmd.sock"},
    ],
)
def test_it_says_nothing_where_there_is_nothing_to_say(
    flags: dict[str, object], tmp_path: Path, told: pytest.LogCaptureFixture
) -> None:
    warn(loaded(tmp_path, **flags))
    assert told.messages == []


def test_a_model_that_a_key_may_use_and_that_is_not_served_is_told(
    tmp_path: Path, told: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(f'[keys.a]\nhash = "{hash_of("a")}"\nmodels = ["tiny", "gone"]')
    warn(loaded(tmp_path, keys_file=path))
    assert told.messages == ["the key a may use gone, which is not served"]


@pytest.mark.parametrize(("mode", "expected"), [("600", 0o600), ("0660", 0o660), ("666", 0o666)])
def test_a_unix_socket_is_for_whom_it_is_meant(mode: str, expected: int, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with bind(ServerSettings(uds=tmp_path / "s", uds_mode=mode)):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == expected
    finally:
        os.umask(before)
