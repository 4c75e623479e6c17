from __future__ import annotations

import logging
import os
import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event, current_thread

import numpy as np
import pytest
from live import PATIENCE

from llmd.engine.disk_tier import RETRY_SECONDS, DiskTier, StoredPrefix
from llmd.engine.radix import Tokens
from llmd.engine.state_directory import LISTED_SECONDS
from llmd.errors import ConfigError
from llmd.llama.context import State


class Clock:
    """Stands still, and so can the writer: it asks for the time before it writes."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self._may_write = Event()
        self._may_write.set()

    def __call__(self) -> float:
        if current_thread().name.startswith("llmd-disk"):
            assert self._may_write.wait(PATIENCE)
        return self.now

    def hold_writer(self) -> None:
        self._may_write.clear()

    def release_writer(self) -> None:
        self._may_write.set()


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.release_writer()


def open_tier(
    directory: Path, clock: Clock, *, fingerprint: str = "model-1", capacity: int = 1 << 30
) -> DiskTier:
    return DiskTier(directory, fingerprint, capacity, clock)


def tokens_of(text: str) -> Tokens:
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def state(text: str, num_bytes: int = 0) -> State:
    return np.frombuffer(text.encode().ljust(num_bytes), np.uint8)


def save(tier: DiskTier, text: str, num_bytes: int = 0) -> StoredPrefix:
    """Store `text` as its own state."""
    stored = tier.save("alice", tokens_of(text), 0, state(text, num_bytes))
    assert stored is not None
    return stored


def load(tier: DiskTier, stored: StoredPrefix) -> str | None:
    parts = tier.load(stored)
    return None if parts is None else parts[0].tobytes().decode().rstrip()


def texts(tier: DiskTier) -> list[str]:
    return ["".join(map(chr, stored.tokens)) for stored in tier.scan()]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("checkpoint", [None, state(""), state("recurrent")])
def test_a_state_outlives_the_daemon(
    tmp_path: Path, clock: Clock, checkpoint: State | None
) -> None:
    tier = open_tier(tmp_path, clock)
    saved = tier.save("alice", tokens_of("hello there"), 6, state("keys"), checkpoint)
    tier.close()

    tier = open_tier(tmp_path, clock)
    (found,) = tier.scan()
    assert found == saved
    assert (found.scope, found.start) == ("alice", 6)
    assert found.has_checkpoint == (checkpoint is not None)
    assert np.array_equal(found.tokens, tokens_of("hello there"))
    assert found.num_bytes == found.path.stat().st_size
    parts = tier.load(found)
    assert parts is not None
    assert np.array_equal(parts[0], state("keys"))
    assert (parts[1] is None) == (checkpoint is None)
    assert checkpoint is None or np.array_equal(parts[1], checkpoint)  # type: ignore[arg-type]


def test_a_state_can_be_loaded_while_it_waits_and_afterwards(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    clock.hold_writer()
    stored = save(tier, "hello")
    assert not stored.path.exists()
    assert load(tier, stored) == "hello"
    clock.release_writer()
    tier.close()
    assert stored.path.exists()
    assert load(tier, stored) == "hello"


def test_what_changes_the_key_is_another_file(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    tokens = tokens_of("hello")
    paths = {
        stored.path
        for stored in (
            tier.save("alice", tokens, 0, state("1")),
            tier.save("bob", tokens, 0, state("2")),
            tier.save("alice", tokens, 1, state("3")),
            tier.save("alice", tokens[:4], 0, state("4")),
            open_tier(tmp_path, clock, fingerprint="x").save("alice", tokens, 0, state("5")),
        )
        if stored is not None
    }
    assert len(paths) == 5


def test_a_prefix_is_stored_once_and_the_latest_counts(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    clock.hold_writer()
    save(tier, "hello")
    tier.save("alice", tokens_of("hello"), 0, state("second"))
    last = tier.save("alice", tokens_of("hello"), 0, state("third"), state("checkpoint"))
    clock.release_writer()
    tier.close()
    assert last is not None
    assert open_tier(tmp_path, clock).scan() == [last]
    assert load(tier, last) == "third"


@pytest.mark.parametrize(
    "asked",
    [{"scope": "bob"}, {"start": 1}, {"tokens": tokens_of("hellO")}, {"tokens": tokens_of("hell")}],
)
def test_nothing_is_loaded_for_anything_else(
    tmp_path: Path, clock: Clock, asked: dict[str, object]
) -> None:
    tier = open_tier(tmp_path, clock)
    stored = save(tier, "hello")
    tier.close()
    assert tier.load(replace(stored, **asked)) is None  # type: ignore[arg-type]


def test_nothing_is_loaded_for_another_model(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    stored = save(tier, "hello")
    tier.close()
    assert open_tier(tmp_path, clock, fingerprint="model-2").load(stored) is None


def test_a_damaged_file_is_a_miss_and_removed(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    stored = save(tier, "hello")
    tier.close()
    whole = stored.path.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x10
        for damaged in (bytes(flipped), whole[:position]):
            stored.path.write_bytes(damaged)
            assert tier.load(stored) is None, position
            assert not stored.path.exists(), position
    stored.path.write_bytes(whole)
    assert load(tier, stored) == "hello"


def test_a_damaged_header_is_removed_at_the_start(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tier = open_tier(tmp_path, clock)
    stored = [save(tier, text) for text in ("cut", "flipped", "whole")]
    tier.close()
    os.truncate(stored[0].path, 30)
    with stored[1].path.open("r+b") as file:
        file.seek(30)
        file.write(b"\xff")
    assert texts(open_tier(tmp_path, clock)) == ["whole"]
    assert list(tmp_path.iterdir()) == [stored[2].path]
    assert len(errors(caplog)) == 2


def test_a_file_under_another_name_is_removed(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    hello, other = save(tier, "hello"), save(tier, "other")
    tier.close()
    hello.path.replace(other.path)
    assert open_tier(tmp_path, clock).scan() == []
    assert list(tmp_path.iterdir()) == []


def test_the_scan_reads_headers_only(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    stored = save(tier, "hello")
    tier.close()
    with stored.path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\xff")
    tier = open_tier(tmp_path, clock)
    assert tier.scan() == [stored]
    assert tier.load(stored) is None


def test_a_file_that_is_gone_is_a_miss(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tier = open_tier(tmp_path, clock)
    stored = save(tier, "hello")
    tier.close()
    stored.path.unlink()
    assert tier.load(stored) is None
    assert errors(caplog) == []


def test_a_pipe_or_a_directory_in_its_place_is_a_miss(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    pipe, directory = save(tier, "pipe"), save(tier, "directory")
    tier.close()
    pipe.path.unlink()
    os.mkfifo(pipe.path)
    directory.path.unlink()
    directory.path.mkdir()
    assert tier.load(pipe) is None
    assert tier.load(directory) is None


def test_what_was_used_least_recently_makes_room(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock, capacity=3500)
    stored = []
    for text in ("first", "second", "third"):
        clock.now += 1
        stored.append(save(tier, text, 1000))
    clock.now += 1
    assert load(tier, stored[0]) == "first"
    clock.now += 1
    tier.touch(stored[1])
    clock.now += 1
    save(tier, "fourth", 1000)
    tier.close()
    assert texts(open_tier(tmp_path, clock)) == ["first", "second", "fourth"]
    assert tier.load(stored[2]) is None


def test_the_order_of_use_outlives_the_daemon(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    for text in ("first", "second", "third"):
        clock.now += 1
        save(tier, text, 1000)
    tier.close()
    tier = open_tier(tmp_path, clock)
    first, *_ = tier.scan()
    clock.now += 1
    assert load(tier, first) == "first"
    tier.close()
    found = open_tier(tmp_path, clock, capacity=2500).scan()
    assert [stored.used_at for stored in found] == [clock.now - 1, clock.now]
    assert texts(open_tier(tmp_path, clock)) == ["third", "first"]


def test_other_models_states_are_counted_but_not_read(tmp_path: Path, clock: Clock) -> None:
    other = open_tier(tmp_path, clock, fingerprint="model-2")
    foreign = [save(other, text, 1000) for text in ("once", "twice")]
    other.close()
    foreign[0].path.write_bytes(b"!" * 1000)  # not even looked into
    os.utime(foreign[0].path, (clock.now - 1, clock.now - 1))

    tier = open_tier(tmp_path, clock, capacity=2500)
    assert tier.scan() == []
    assert all(stored.path.exists() for stored in foreign)
    clock.now += 1
    save(tier, "mine", 1000)
    tier.close()
    assert not foreign[0].path.exists()
    assert load(other, foreign[1]) == "twice"


def test_what_can_never_fit_is_refused(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock, capacity=1000)
    stored = save(tier, "hello")
    assert tier.save("alice", tokens_of("large"), 0, state("", 1000)) is None
    tier.close()
    assert load(tier, stored) == "hello"


def test_no_more_than_the_backlog_waits(tmp_path: Path, clock: Clock) -> None:
    tier = DiskTier(tmp_path, "model-1", 1 << 20, clock, max_backlog=2500)
    clock.hold_writer()
    save(tier, "first", 1000)
    save(tier, "second", 1000)
    assert tier.save("alice", tokens_of("third"), 0, state("third", 1000)) is None
    clock.release_writer()
    tier.close()
    assert sorted(texts(open_tier(tmp_path, clock))) == ["first", "second"]


def test_what_exceeds_the_backlog_may_wait_alone(tmp_path: Path, clock: Clock) -> None:
    tier = DiskTier(tmp_path, "model-1", 1 << 20, clock, max_backlog=100)
    clock.hold_writer()
    save(tier, "first", 1000)
    assert tier.save("alice", tokens_of("second"), 0, state("second")) is None
    clock.release_writer()
    tier.close()
    assert texts(open_tier(tmp_path, clock)) == ["first"]


def test_a_save_can_wait_for_room(tmp_path: Path, clock: Clock) -> None:
    tier = DiskTier(tmp_path, "model-1", 1 << 20, clock, max_backlog=1500)
    clock.hold_writer()
    save(tier, "first", 1000)
    with ThreadPoolExecutor(1) as engine_thread:
        second = engine_thread.submit(
            tier.save, "alice", tokens_of("second"), 0, state("second", 1000), wait=True
        )
        clock.release_writer()
        assert second.result(PATIENCE) is not None
    tier.close()
    assert sorted(texts(open_tier(tmp_path, clock))) == ["first", "second"]


def test_a_removed_state_is_never_written(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    clock.hold_writer()
    stored = [save(tier, text) for text in ("being written", "waiting", "kept")]
    for each in stored[:2]:
        tier.remove(each)
        assert tier.load(each) is None
    clock.release_writer()
    tier.close()
    assert list(tmp_path.iterdir()) == [stored[2].path]


def test_a_state_can_be_removed_and_saved_again(tmp_path: Path, clock: Clock) -> None:
    tier = open_tier(tmp_path, clock)
    tier.remove(save(tier, "hello"))
    stored = save(tier, "hello")
    tier.close()
    assert load(tier, stored) == "hello"


def test_what_is_saved_is_private(tmp_path: Path, clock: Clock) -> None:
    before = os.umask(0)
    try:
        tier = open_tier(tmp_path / "cache", clock)
        stored = save(tier, "hello")
        tier.close()
    finally:
        os.umask(before)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert stored.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("directory", ["file", "file/cache"])
def test_a_directory_that_cannot_be_made_is_an_error_with_its_cure(
    tmp_path: Path, clock: Clock, directory: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as caught:
        open_tier(tmp_path / directory, clock)
    assert str(tmp_path / directory) in caught.value.message
    assert caught.value.message.endswith("Choose a --cache-dir that llmd can write to.")


def test_a_directory_that_everybody_can_write_is_named(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o777)
    open_tier(tmp_path, clock)
    (error,) = errors(caplog)
    assert "chmod o-w" in error


def test_a_directory_that_was_removed_is_made_again(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tier = open_tier(tmp_path / "cache", clock)
    shutil.rmtree(tmp_path / "cache")
    stored = save(tier, "hello")
    tier.close()
    assert load(tier, stored) == "hello"
    assert errors(caplog) == []


def test_a_failing_disk_is_reported_once_with_the_cure(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # So small a backlog that each save waits for the one before.
    tier = DiskTier(tmp_path / "cache", "model-1", 1 << 20, clock, max_backlog=1)
    (tmp_path / "cache").rmdir()
    (tmp_path / "cache").touch()
    lost = save(tier, "first")
    for text in ("second", "third"):
        assert tier.save("alice", tokens_of(text), 0, state(text), wait=True) is None
    tier.close()
    (error,) = errors(caplog)
    assert error.endswith("Choose a --cache-dir that llmd can write to.")
    assert tier.load(lost) is None


def test_what_waits_is_dropped_when_the_disk_fails(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tier = open_tier(tmp_path / "cache", clock)
    clock.hold_writer()
    stored = [save(tier, text) for text in ("first", "second")]
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").touch()
    clock.release_writer()
    tier.close()
    assert len(errors(caplog)) == 1
    assert [tier.load(each) for each in stored] == [None, None]


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    """What a full disk is like: a write fails in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tier = open_tier(tmp_path, clock)
    with files_no_larger_than(2 << 20):
        small, large = save(tier, "small"), save(tier, "large", 3 << 20)
        tier.close()
    assert list(tmp_path.iterdir()) == [small.path]
    assert load(tier, small) == "small"
    assert tier.load(large) is None
    assert len(errors(caplog)) == 1


def test_a_repaired_disk_is_used_again_after_a_while(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tier = DiskTier(tmp_path, "model-1", 1 << 30, clock, max_backlog=1)

    def save_large(text: str) -> StoredPrefix | None:
        return tier.save("alice", tokens_of(text), 0, state(text, 2 << 20), wait=True)

    with files_no_larger_than(1 << 20):
        save_large("first")
        assert save_large("second") is None
    clock.now += RETRY_SECONDS - 1
    assert save_large("third") is None
    clock.now += 1
    fourth = save_large("fourth")
    save_large("fifth")
    assert fourth is not None
    assert load(tier, fourth) == "fourth"
    with files_no_larger_than(1 << 20):
        save_large("sixth")
        assert save_large("seventh") is None
    tier.close()
    assert len(errors(caplog)) == 2


def test_daemons_share_a_directory(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = open_tier(tmp_path, clock), open_tier(tmp_path, clock)
    hello, again = save(first, "hello"), save(second, "hello")
    other = save(second, "other")
    first.close()
    second.close()
    assert hello == again
    assert [load(first, stored) for stored in (hello, other)] == ["hello", "other"]
    hello.path.unlink()
    assert [load(second, stored) for stored in (hello, other)] == [None, "other"]
    assert errors(caplog) == []


def test_daemons_at_work_in_one_directory_do_not_disturb_each_other(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    capacity, size = 20_000, 2000

    def work(seed: int) -> int:
        random, known, num_hits = Random(seed), dict[str, StoredPrefix](), 0
        tier = open_tier(tmp_path, clock, capacity=capacity, fingerprint=f"model-{seed % 2}")
        for _ in range(150):
            clock.now += LISTED_SECONDS
            text = f"prefix {random.randrange(12)}"
            if text not in known or random.random() < 0.3:
                known[text] = save(tier, text, size)
            elif random.random() < 0.1:
                tier.remove(known.pop(text))
            elif random.random() < 0.1:
                for stored in tier.scan():
                    known["".join(map(chr, stored.tokens))] = stored
            else:
                found = load(tier, known[text])
                assert found in (text, None)
                num_hits += found is not None
        tier.close()
        return num_hits

    with ThreadPoolExecutor(4) as daemons:
        num_hits = list(daemons.map(work, range(4)))
    assert min(num_hits) > 0
    assert errors(caplog) == []
    files = list(tmp_path.iterdir())
    assert {file.suffix for file in files} == {".state"}
    # Each may have made room for one before it saw what the others wrote.
    assert sum(file.stat().st_size for file in files) <= capacity + 3 * (size + 500)
