from __future__ import annotations

import fcntl
import os
from functools import partial
from pathlib import Path

import pytest

from llmd.engine.state_directory import ABANDONED_SECONDS, LISTED_SECONDS, FoundFile, StateDirectory

NOW = 1_700_000_000.0


def directory(path: Path, capacity: int = 100) -> StateDirectory:
    return StateDirectory(path, capacity, clock=lambda: NOW)


def put(path: Path, name: str, num_bytes: int = 10, *, age: float = 0.0) -> Path:
    file = path / name
    file.write_bytes(b"x" * num_bytes)
    os.utime(file, (NOW - age, NOW - age))
    return file


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "cache"
    assert directory(path).check()
    assert path.stat().st_mode & 0o777 == 0o700
    assert list(path.iterdir()) == []


def test_it_tells_where_everybody_may_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert not directory(tmp_path).check()


def test_files_come_least_recently_used_first(tmp_path: Path) -> None:
    put(tmp_path, "a-1.state", 1, age=1)
    put(tmp_path, "a-2.state", 2, age=3)
    put(tmp_path, "b-3.state", 3, age=2)
    found = directory(tmp_path).files()
    assert [file.path.name for file in found] == ["a-2.state", "b-3.state", "a-1.state"]
    assert [file.num_bytes for file in found] == [2, 3, 1]
    assert [file.used_at for file in found] == [NOW - 3, NOW - 2, NOW - 1]


def test_a_touched_file_is_the_newest(tmp_path: Path) -> None:
    first = put(tmp_path, "a-1.state", age=9)
    put(tmp_path, "a-2.state", age=5)
    directory(tmp_path).touch(first)
    assert directory(tmp_path).files()[-1].path == first


def names(files: list[FoundFile]) -> list[str]:
    return [file.path.name for file in files]


def test_room_is_made_by_the_least_recently_used(tmp_path: Path) -> None:
    for age in range(1, 6):
        put(tmp_path, f"a-{age}.state", 20, age=age)
    directory(tmp_path).make_room(30)
    assert names(directory(tmp_path).files()) == ["a-3.state", "a-2.state", "a-1.state"]


def test_nothing_goes_where_there_is_room(tmp_path: Path) -> None:
    put(tmp_path, "a-1.state", 60)
    directory(tmp_path).make_room(40)
    assert names(directory(tmp_path).files()) == ["a-1.state"]


def test_more_goes_than_needed_so_that_there_is_room_for_a_while(tmp_path: Path) -> None:
    for age in range(1, 51):
        put(tmp_path, f"a-{age}.state", 2, age=age)
    directory(tmp_path).make_room(1)
    assert sum(file.num_bytes for file in directory(tmp_path).files()) == 94


def test_its_own_files_are_counted_at_once(tmp_path: Path) -> None:
    ours = directory(tmp_path)
    for time, name in enumerate(("a-1.state", "a-2.state", "a-3.state")):
        ours.make_room(40)
        with ours.replace(tmp_path / name, partial(float, time)) as file:
            file.write(b"x" * 40)
    assert names(ours.files()) == ["a-2.state", "a-3.state"]


def test_files_of_other_daemons_are_counted_soon(tmp_path: Path) -> None:
    now = NOW
    ours = StateDirectory(tmp_path, 100, clock=lambda: now)
    ours.make_room(40)
    put(tmp_path, "a-1.state", 70)
    ours.make_room(40)
    assert names(ours.files()) == ["a-1.state"]
    now += LISTED_SECONDS
    ours.make_room(40)
    assert ours.files() == []


def test_a_file_beyond_the_capacity_does_not_cost_the_others(tmp_path: Path) -> None:
    put(tmp_path, "a-1.state", 10, age=5)
    put(tmp_path, "a-2.state", 101, age=0)
    assert names(directory(tmp_path).trim()) == ["a-1.state"]


def test_what_is_not_its_own_is_neither_counted_nor_touched(tmp_path: Path) -> None:
    elsewhere = put(tmp_path, "novel.txt", 1000, age=1000)
    put(tmp_path, "backup.state", 1000, age=1000)
    put(tmp_path, "a-1.state.tmp", 1000, age=1000)
    (tmp_path / "a-2.state").symlink_to(elsewhere)
    (tmp_path / "a-3.state").mkdir()
    before = sorted(tmp_path.iterdir())
    assert directory(tmp_path).trim(100) == []
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_appears_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "a-1.state"
    with directory(tmp_path).replace(path, lambda: NOW - 7) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mtime == NOW - 7
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = put(tmp_path, "a-1.state", 3)
    with (
        pytest.raises(OSError, match="tea"),
        directory(tmp_path).replace(path, lambda: NOW) as file,
    ):
        file.write(b"new")
        raise OSError("out of tea")
    assert path.read_bytes() == b"xxx"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_gone_can_be_touched_and_removed(tmp_path: Path) -> None:
    directory(tmp_path).touch(tmp_path / "a-1.state")
    directory(tmp_path).remove(tmp_path / "a-1.state")
    assert list(tmp_path.iterdir()) == []


LEFTOVER = "a-1.state.0123456789abcdef.tmp"


def test_what_a_dead_daemon_left_half_done_is_removed(tmp_path: Path) -> None:
    put(tmp_path, LEFTOVER, age=ABANDONED_SECONDS)
    assert directory(tmp_path).files() == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_about_to_be_locked_is_left_alone(tmp_path: Path) -> None:
    file = put(tmp_path, LEFTOVER, age=ABANDONED_SECONDS - 1)
    assert directory(tmp_path).files() == []
    assert file.exists()


def test_what_another_daemon_is_writing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a-1.state"
    with directory(tmp_path).replace(path, lambda: NOW) as file:
        (temporary,) = tmp_path.iterdir()
        os.utime(temporary, (0, 0))
        directory(tmp_path).files()
        file.write(b"done")
    assert path.read_bytes() == b"done"


def test_a_lock_ends_with_its_daemon(tmp_path: Path) -> None:
    file = put(tmp_path, LEFTOVER, age=ABANDONED_SECONDS)
    with file.open("rb") as daemon:
        fcntl.flock(daemon, fcntl.LOCK_EX)
        directory(tmp_path).files()
        assert file.exists()
    directory(tmp_path).files()
    assert not file.exists()


def test_neither_links_nor_pipes_are_read(tmp_path: Path) -> None:
    link, pipe = tmp_path / "a-1.state", tmp_path / "a-2.state"
    link.symlink_to(put(tmp_path, "secret"))
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="symbolic link"):
        directory(tmp_path).open(link)
    with directory(tmp_path).open(pipe) as file:
        assert file.read(1) == b""
