from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from llmd.errors import ConfigError
from llmd.recording.directory import RecordingDirectory

TIME = "2026-11-21T12:01:33.{:06}+00:00"


def opened(path: Path, max_bytes: int = 1000) -> RecordingDirectory:
    return RecordingDirectory(path, max_bytes)


def write(directory: RecordingDirectory, number: int, size: int = 100) -> Path | None:
    return directory.write(TIME.format(number), f"r{number}", b"x" * size)


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def test_its_user_alone_may_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = write(opened(tmp_path / "a" / "b"), 1)
    finally:
        os.umask(before)
    assert path is not None and path.read_bytes() == b"x" * 100
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777])
def test_a_directory_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(mode)
    with pytest.raises(ConfigError, match="Run chmod 700"):
        opened(tmp_path / "a")


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ConfigError, match=r"Choose another --record\.$"):
        opened(tmp_path / "a")


def test_the_oldest_make_room(tmp_path: Path) -> None:
    directory = opened(tmp_path / "a", 350)
    paths = [write(directory, number) for number in range(5)]
    assert [path is not None and path.exists() for path in paths] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert directory.num_bytes == 300


def test_what_is_too_large_alone_is_not_kept_and_removes_nothing(tmp_path: Path) -> None:
    directory = opened(tmp_path / "a", 350)
    first = write(directory, 1)
    assert write(directory, 2, 351) is None
    assert first is not None and first.exists()


def test_it_goes_on_with_what_is_there(tmp_path: Path) -> None:
    before = opened(tmp_path / "a", 350)
    old = [write(before, number) for number in range(3)]
    after = opened(tmp_path / "a", 250)
    assert [path is not None and path.exists() for path in old] == [False, True, True]
    write(after, 3)
    assert len(names(tmp_path / "a")) == 2


def test_a_lower_limit_holds_at_once(tmp_path: Path) -> None:
    directory = opened(tmp_path / "a", 350)
    for number in range(3):
        write(directory, number)
    directory.limit(150)
    assert len(names(tmp_path / "a")) == 1


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    other = tmp_path / "a" / "notes.json"
    other.write_bytes(b"x" * 5000)
    link = tmp_path / "a" / "20261121T120133000000Z-link.json"
    link.symlink_to(other)
    directory = opened(tmp_path / "a", 150)
    for number in range(3):
        write(directory, number)
    assert other.exists() and link.is_symlink()
    assert len(names(tmp_path / "a")) == 3


def test_what_a_killed_daemon_left_unfinished_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    (tmp_path / "a" / ".20261121T120133000000Z-r1.json.4711").touch()
    opened(tmp_path / "a")
    assert names(tmp_path / "a") == []


@pytest.mark.parametrize("request_id", ["../../etc/passwd", "a/b", "x" * 128, "", ".", "ä"])
def test_no_request_id_leads_out_of_it(tmp_path: Path, request_id: str) -> None:
    path = opened(tmp_path / "a").write(TIME.format(1), request_id, b"x")
    assert path is not None and path.parent == tmp_path / "a" and path.exists()
    assert opened(tmp_path / "a").num_bytes == 1, "it is not found again"


def test_two_of_the_same_id_and_moment_are_two(tmp_path: Path) -> None:
    directory = opened(tmp_path / "a")
    assert write(directory, 1) != write(directory, 1)
    assert len(names(tmp_path / "a")) == 2
