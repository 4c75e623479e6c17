from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack_from
from zlib import crc32

import numpy as np
import pytest

from llmd.engine import state_file
from llmd.engine.state_file import DamagedFile, Header
from llmd.llama.context import State


def bytes_of(text: bytes) -> State:
    return np.frombuffer(text, np.uint8).copy()


def write(path: Path, span: State, checkpoint: State | None = None, **fields: object) -> Header:
    values: dict[str, object] = {
        "fingerprint": "llmd-1-abc",
        "scope": "alice",
        "tokens": np.array([1, -1, 2**31 - 1], np.int32),
        "start": 1,
        "span_size": span.size,
        "checkpoint_size": None if checkpoint is None else checkpoint.size,
    }
    header = Header(**(values | fields))  # type: ignore[arg-type]
    with path.open("wb") as file:
        state_file.write(file, header, span, checkpoint)
    return header


def read(path: Path) -> tuple[Header, State, State | None]:
    with path.open("rb") as file:
        header = state_file.read_header(file)
        return header, *state_file.read_payload(file, header)


def is_damaged(path: Path) -> bool:
    try:
        read(path)
    except DamagedFile:
        return True
    return False


CHUNKS_AND_SOME = np.random.default_rng(0).integers(0, 256, (3 << 20) + 17, np.uint8)


@pytest.mark.parametrize("checkpoint", [None, bytes_of(b""), bytes_of(b"recurrent")])
@pytest.mark.parametrize("span", [bytes_of(b""), bytes_of(b"keys and values"), CHUNKS_AND_SOME])
def test_what_is_written_is_read(tmp_path: Path, span: State, checkpoint: State | None) -> None:
    path = tmp_path / "state"
    written = write(path, span, checkpoint)
    header, read_span, read_checkpoint = read(path)
    assert header == written
    assert header.describes("llmd-1-abc", "alice", written.tokens, 1)
    assert np.array_equal(read_span, span)
    assert (read_checkpoint is None) == (checkpoint is None)
    if checkpoint is not None and read_checkpoint is not None:
        assert np.array_equal(read_checkpoint, checkpoint)


def test_the_header_knows_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    header = write(
        path, CHUNKS_AND_SOME, bytes_of(b"x"), scope="é", tokens=np.empty(0, np.int32), start=0
    )
    assert header.num_bytes == path.stat().st_size


def test_the_header_is_read_without_the_payload(tmp_path: Path) -> None:
    path = tmp_path / "state"
    header = write(path, CHUNKS_AND_SOME)
    with path.open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\0" * 8)
    with path.open("rb") as file:
        assert state_file.read_header(file) == header
        assert file.tell() == header.num_bytes - CHUNKS_AND_SOME.size - 4


@pytest.mark.parametrize(
    ("fingerprint", "scope", "tokens", "start"),
    [
        ("llmd-1-abd", "alice", [1, 2, 3], 1),
        ("llmd-1-abc", "alicE", [1, 2, 3], 1),
        ("llmd-1-abc", "alice", [1, 2, 4], 1),
        ("llmd-1-abc", "alice", [1, 2], 1),
        ("llmd-1-abc", "alice", [1, 2, 3], 2),
    ],
)
def test_a_header_describes_nothing_else(
    tmp_path: Path, fingerprint: str, scope: str, tokens: list[int], start: int
) -> None:
    header = write(tmp_path / "state", bytes_of(b"x"), tokens=np.array([1, 2, 3], np.int32))
    assert not header.describes(fingerprint, scope, np.array(tokens, np.int32), start)


def test_any_changed_byte_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write(path, bytes_of(b"keys and values"), bytes_of(b"recurrent"))
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert is_damaged(path), position


def test_any_cut_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write(path, bytes_of(b"keys and values"), bytes_of(b"recurrent"))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert is_damaged(path), length


def test_an_appendage_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write(path, bytes_of(b"keys and values"))
    path.write_bytes(path.read_bytes() + b"\0")
    assert is_damaged(path)


def test_the_payload_of_another_file_is_damage(tmp_path: Path) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    span = bytes_of(b"keys and values")
    write(ours, span)
    write(others, span, scope="mallo")
    size = span.size + 4
    ours.write_bytes(ours.read_bytes()[:-size] + others.read_bytes()[-size:])
    assert is_damaged(ours)


SIZES = "<8sIIIIIQq"


def forge(whole: bytes, change: Callable[[list[int]], None], body: bytes | None = None) -> bytes:
    """A file whose checksums are right and whose sizes are lies: version, fingerprint, scope,
    tokens, start, span, checkpoint.
    """
    magic, *sizes = unpack_from(SIZES, whole)
    head_size = len(pack(SIZES, magic, *sizes))
    body_size = sizes[1] + sizes[2] + 4 * sizes[3]
    payload = whole[head_size + body_size + 4 : -4]
    change(sizes)
    head = pack(SIZES, magic, *sizes) + (body or whole[head_size : head_size + body_size])
    head_checksum = crc32(head)
    return head + pack("<I", head_checksum) + payload + pack("<I", crc32(payload, head_checksum))


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, 2),
        (1, 2**32 - 1),
        (2, 2**32 - 1),
        (3, 2**32 - 1),
        (3, (1 << 24) + 1),
        (3, 1 << 24),
        (4, 4),
        (5, 2**64 - 1),
        (5, 2**63),
        (5, 1 << 50),
        (6, 2**63 - 1),
        (6, 1 << 50),
        (6, -2),
        (6, -(2**63)),
    ],
)
def test_lies_about_sizes_are_damage(tmp_path: Path, index: int, value: int) -> None:
    path = tmp_path / "state"
    write(path, bytes_of(b"keys and values"), bytes_of(b"recurrent"))
    assert not is_damaged(path)

    def lie(sizes: list[int]) -> None:
        sizes[index] = value

    path.write_bytes(forge(path.read_bytes(), lie))
    assert is_damaged(path)


def test_sizes_that_make_up_for_each_other_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write(path, bytes_of(b"keys and values"), bytes_of(b"recurrent"))

    def lie(sizes: list[int]) -> None:
        sizes[5] += 20
        sizes[6] = -11

    path.write_bytes(forge(path.read_bytes(), lie))
    assert is_damaged(path)


def test_a_scope_that_is_not_text_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write(path, bytes_of(b"x"), tokens=np.empty(0, np.int32), start=0)
    path.write_bytes(forge(path.read_bytes(), lambda sizes: None, b"llmd-1-abc" + b"\xff" * 5))
    assert is_damaged(path)


def test_noise_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "state"
    noise = np.random.default_rng(1)
    for length in (0, 1, 43, 44, 45, 4096):
        path.write_bytes(noise.bytes(length))
        assert is_damaged(path), length
        path.write_bytes((state_file.MAGIC + noise.bytes(length))[:length])
        assert is_damaged(path), length
