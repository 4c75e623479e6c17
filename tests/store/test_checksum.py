from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from llmd.store.checksum import Checksum, blocks_of

DATA = b"the bytes of a file"


def is_right(expected: str, *pieces: bytes, num_bytes: int = len(DATA)) -> bool:
    checksum = Checksum(expected, num_bytes)
    for piece in pieces:
        checksum.update(piece)
    return checksum.is_right()


def test_a_sha256_is_checked() -> None:
    expected = hashlib.sha256(DATA).hexdigest()
    assert is_right(expected, DATA[:3], DATA[3:])
    assert not is_right(expected, DATA[:-1] + b"!")


def test_gits_id_of_a_file_is_checked() -> None:
    # git hash-object
    assert is_right("257cc5642cb1a054f08cc83f2d943e56fd3ebe99", b"foo\n", num_bytes=4)
    assert not is_right("257cc5642cb1a054f08cc83f2d943e56fd3ebe99", b"bar\n", num_bytes=4)


@pytest.mark.parametrize("pieces", [[DATA[:-1]], [DATA, b"!"], []])
def test_whatever_it_is_called_the_size_is_checked(pieces: list[bytes]) -> None:
    assert is_right("d41d8cd9-5", DATA)
    assert not is_right("d41d8cd9-5", *pieces)


def test_only_the_first_bytes_of_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    assert b"".join(blocks_of(path, 3)) == DATA[:3]
    assert b"".join(blocks_of(path, 1000)) == DATA
