"""Checksums of files as hubs tell them, computed while the bytes pass."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

_BLOCK_BYTES = 2**20


class Checksum:
    """Takes a file's bytes in order. Hubs name large files by their SHA-256 and small ones by git's
    id of them; of what else a mirror calls them nothing can be said but their size.
    """

    def __init__(self, expected: str, num_bytes: int) -> None:
        self._expected = expected
        self._num_bytes = num_bytes
        self._num_seen = 0
        if re.fullmatch(r"[0-9a-f]{64}", expected):
            self._digest: hashlib._Hash | None = hashlib.sha256()
        elif re.fullmatch(r"[0-9a-f]{40}", expected):
            self._digest = hashlib.sha1(b"blob %d\0" % num_bytes, usedforsecurity=False)
        else:
            self._digest = None

    def update(self, data: bytes) -> None:
        self._num_seen += len(data)
        if self._digest is not None:
            self._digest.update(data)

    def is_right(self) -> bool:
        """Whether all bytes came and are the expected ones."""
        if self._num_seen != self._num_bytes:
            return False
        return self._digest is None or self._digest.hexdigest() == self._expected


def blocks_of(path: Path, num_bytes: int) -> Iterator[bytes]:
    """The first bytes of a file, in blocks. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        while num_bytes > 0 and (block := file.read(min(_BLOCK_BYTES, num_bytes))):
            yield block
            num_bytes -= len(block)
