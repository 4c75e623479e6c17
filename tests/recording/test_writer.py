from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from recording.test_recording_json import RECORDING

from llmd.errors import ConfigError
from llmd.recording.recording_json import read
from llmd.recording.writer import RecordingWriter


@pytest.fixture
def writer() -> Iterator[RecordingWriter]:
    writer = RecordingWriter()
    yield writer
    writer.close()


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.json"))


def test_it_writes_nothing_until_it_is_told_where(writer: RecordingWriter, tmp_path: Path) -> None:
    assert not writer.is_on
    writer.add(RECORDING, ())
    writer.configure(tmp_path / "a", 10_000)
    assert writer.is_on
    writer.add(replace(RECORDING, request_id="second"), ())
    writer.close()
    (file,) = files(tmp_path / "a")
    assert read(file).request_id == "second"


def test_a_refused_directory_changes_nothing(writer: RecordingWriter, tmp_path: Path) -> None:
    writer.configure(tmp_path / "a", 10_000)
    (tmp_path / "b").touch()
    with pytest.raises(ConfigError):
        writer.configure(tmp_path / "b", 10_000)
    writer.add(RECORDING, ())
    writer.close()
    assert len(files(tmp_path / "a")) == 1


def test_it_can_be_switched_off(writer: RecordingWriter, tmp_path: Path) -> None:
    writer.configure(tmp_path / "a", 10_000)
    writer.configure(None, 10_000)
    assert not writer.is_on
    writer.close()
    assert files(tmp_path / "a") == []


def test_another_limit_holds_for_what_is_there(writer: RecordingWriter, tmp_path: Path) -> None:
    writer.configure(tmp_path / "a", 100_000)
    for _ in range(3):
        writer.add(RECORDING, ())
    writer.configure(tmp_path / "a", 5000)
    size = files(tmp_path / "a")[0].stat().st_size
    assert len(files(tmp_path / "a")) == 5000 // size


def test_a_disk_that_fails_is_told_once_until_it_works_again(
    writer: RecordingWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a"
    writer.configure(path, 100_000)
    caplog.clear()
    shutil.rmtree(path)
    writer.add(RECORDING, ())
    writer.add(RECORDING, ())
    writer.configure(path, 100_000)  # waits for what is being written
    path.mkdir(mode=0o700)
    writer.add(RECORDING, ())
    writer.close()
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("cannot record: ")
    assert len(files(path)) == 1


def test_what_the_disk_is_too_slow_for_is_left_out_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = RecordingWriter(max_backlog=RECORDING.num_bytes - 1)
    writer.configure(tmp_path / "a", 100_000)
    caplog.clear()
    for _ in range(3):
        writer.add(RECORDING, ())
    writer.close()
    assert files(tmp_path / "a") == []
    assert ["come faster" in record.getMessage() for record in caplog.records] == [True]


def test_one_that_is_too_large_is_told(
    writer: RecordingWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer.configure(tmp_path / "a", 10)
    caplog.clear()
    writer.add(RECORDING, ())
    writer.close()
    assert "too large for --record-max-bytes" in caplog.text
