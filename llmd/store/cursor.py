"""Reading a file that may come from anybody, forward and never beyond its end."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llmd.errors import InvalidModelFile, ModelFileNotFound

DOWNLOAD_AGAIN = "Check that the download is complete (compare its size or checksum)."

_BUFFER_BYTES = 2**18


class Cursor:
    """A place in a file of `size` bytes, of which the first `limit` may be read. Whatever would
    reach further raises InvalidModelFile before anything is read or reserved for it; `what` names
    the thing that is at fault.
    """

    def __init__(self, file: BinaryIO, path: Path, *, size: int, limit: int) -> None:
        self.path = path
        self.size = size
        self.position = 0
        self._file = file
        self._limit = limit

    def damaged(self, fault: str) -> InvalidModelFile:
        """The error to raise for `fault`."""
        return InvalidModelFile(f"{self.path} is damaged: {fault}. {DOWNLOAD_AGAIN}")

    def check(self, num_bytes: int, what: str) -> None:
        """Raises unless so many more bytes are there to be read."""
        if num_bytes > self.size - self.position:
            raise self.damaged(f"{what} reaches beyond the end of the file")
        if num_bytes > self._limit - self.position:
            raise self.damaged(f"{what} makes its header larger than {self._limit} bytes")

    def seek(self, position: int) -> None:
        """Go to a place that was checked before."""
        self.position = self._file.seek(position)

    def skip(self, num_bytes: int, what: str) -> None:
        self.check(num_bytes, what)
        self.seek(self.position + num_bytes)

    def take(self, num_bytes: int, what: str) -> bytes:
        self.check(num_bytes, what)
        data = self._file.read(num_bytes)
        if len(data) != num_bytes:
            raise self.damaged(f"it ends within {what}")
        self.position += num_bytes
        return data

    def number(self, letter: str, what: str) -> int | float:
        """A little-endian number, of the type that struct calls `letter`."""
        value: int | float
        (value,) = struct.unpack(f"<{letter}", self.take(struct.calcsize(letter), what))
        return value

    def length(self, what: str, *, most: int, unit_bytes: int = 1) -> int:
        """How many things of at least `unit_bytes` bytes each come next: u64."""
        value = int(self.number("Q", f"the length of {what}"))
        if value > most:
            raise self.damaged(f"{what} has an impossible length, {value}")
        self.check(value * unit_bytes, what)
        return value

    def text(self, what: str, *, most: int) -> bytes:
        """A string: u64 length, then its bytes."""
        return self.take(self.length(what, most=most), what)

    def skip_texts(self, count: int, what: str) -> None:
        # Runs hundreds of thousands of times, so it calls nothing but the file.
        read, unpack = self._file.read, struct.Struct("<Q").unpack
        used, room = 0, min(self.size, self._limit) - self.position
        for _ in range(count):
            head = read(8)
            if len(head) < 8:
                raise self.damaged(f"it ends within {what}")
            length = unpack(head)[0]
            used += 8 + length
            if used > room:
                break
            read(length)
        self.check(used, what)
        self.position += used


@contextmanager
def opened(path: Path, *, limit: int) -> Iterator[Cursor]:
    """Raises ModelFileNotFound where `path` is no file that can be read."""
    try:
        with path.open("rb", buffering=_BUFFER_BYTES) as file:
            yield Cursor(file, path, size=os.fstat(file.fileno()).st_size, limit=limit)
    except FileNotFoundError:
        raise ModelFileNotFound(f"no such file: {path}. Check the path.") from None
    except OSError as error:
        raise ModelFileNotFound(
            f"cannot read {path}: {error.strerror}. Check the path and its permissions."
        ) from error
