"""One computed state in one file.

    magic        8 bytes
    sizes        u32 version, fingerprint, scope, tokens, start; u64 span; i64 checkpoint, -1: none
    fingerprint  UTF-8
    scope        UTF-8
    tokens       i32 each
    checksum     u32, CRC-32 of all before it
    span         bytes
    checkpoint   bytes
    checksum     u32, CRC-32 of all before it but the first checksum

All numbers are little endian. A file may be cut off, overwritten, or made by somebody else: its
sizes are held against its length before anything is allocated, and both checksums are verified.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader, BufferedWriter
from struct import Struct
from zlib import crc32

import numpy as np

from llmd.engine.radix import Tokens
from llmd.llama.context import State

MAGIC = b"llmd-kv\n"
VERSION = 1

MAX_TEXT_BYTES = 4096
"""Of a fingerprint and of a scope, which are short names and digests."""

MAX_TOKENS = 1 << 24
"""Beyond any model's context; bounds what reading a header can allocate."""

_SIZES = Struct("<8sIIIIIQq")
_CHECKSUM = Struct("<I")
_TOKEN = np.dtype("<i4")

_CHUNK_BYTES = 1 << 20
"""Little enough to be still in the processor's cache when it is used a second time."""


class DamagedFile(Exception):
    """Not a state file, or no longer all of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself.

    The span is the state of `tokens[start:]`, computed after all before them; the checkpoint,
    where there is one, is that at their end. Sizes are in bytes.
    """

    fingerprint: str
    scope: str
    tokens: Tokens = field(compare=False, repr=False)
    start: int
    span_size: int
    checkpoint_size: int | None

    @property
    def num_bytes(self) -> int:
        """Of the whole file."""
        return (
            _SIZES.size
            + len(self.fingerprint.encode())
            + len(self.scope.encode())
            + _TOKEN.itemsize * len(self.tokens)
            + self.span_size
            + (self.checkpoint_size or 0)
            + 2 * _CHECKSUM.size
        )

    def describes(self, fingerprint: str, scope: str, tokens: Tokens, start: int) -> bool:
        """Whether the file holds exactly this, compared token by token."""
        return (
            self.fingerprint == fingerprint
            and self.scope == scope
            and self.start == start
            and np.array_equal(self.tokens, tokens)
        )


def write(file: BufferedWriter, header: Header, span: State, checkpoint: State | None) -> None:
    """Write a whole file; the header tells the sizes of the parts. Raises OSError."""
    head = _encode(header)
    checksum = crc32(head)
    file.write(head + _CHECKSUM.pack(checksum))
    for part in (span,) if checkpoint is None else (span, checkpoint):
        for chunk in _chunks(part):
            checksum = crc32(chunk, checksum)
            file.write(chunk)
    file.write(_CHECKSUM.pack(checksum))


def read_header(file: BufferedReader) -> Header:
    """Read up to where the payload begins. Raises DamagedFile, OSError."""
    file_size = os.fstat(file.fileno()).st_size
    if file_size < _SIZES.size:
        raise DamagedFile("it is cut off")
    sizes = _read(file, _SIZES.size)
    magic, version, *lengths, start, span_size, checkpoint_size = _SIZES.unpack(sizes)
    fingerprint_size, scope_size, num_tokens = lengths
    if magic != MAGIC or version != VERSION:
        raise DamagedFile("it has another format")
    if max(fingerprint_size, scope_size) > MAX_TEXT_BYTES or num_tokens > MAX_TOKENS:
        raise DamagedFile("its sizes are impossible")
    body = _read(file, fingerprint_size + scope_size + num_tokens * _TOKEN.itemsize)
    if _read(file, _CHECKSUM.size) != _CHECKSUM.pack(crc32(body, crc32(sizes))):
        raise DamagedFile("the checksum of its header is wrong")
    tokens_at = fingerprint_size + scope_size
    try:
        fingerprint = body[:fingerprint_size].decode()
        scope = body[fingerprint_size:tokens_at].decode()
    except UnicodeDecodeError as error:
        raise DamagedFile("its header is not text") from error
    header = Header(
        fingerprint=fingerprint,
        scope=scope,
        tokens=np.frombuffer(body, _TOKEN, offset=tokens_at).astype(np.int32, copy=False),
        start=start,
        span_size=span_size,
        checkpoint_size=None if checkpoint_size == -1 else checkpoint_size,
    )
    if checkpoint_size < -1 or start > num_tokens or header.num_bytes != file_size:
        raise DamagedFile("its sizes do not fit its length")
    return header


def read_payload(file: BufferedReader, header: Header) -> tuple[State, State | None]:
    """The span and the checkpoint, after `read_header`, in memory of their own.

    Raises DamagedFile, OSError, MemoryError.
    """
    checksum = crc32(_encode(header))
    parts = []
    for size in (header.span_size, header.checkpoint_size or 0):
        part = np.empty(size, np.uint8)
        for chunk in _chunks(part):
            if file.readinto(chunk) != len(chunk):
                raise DamagedFile("it is cut off")
            checksum = crc32(chunk, checksum)
        parts.append(part)
    if _read(file, _CHECKSUM.size) != _CHECKSUM.pack(checksum):
        raise DamagedFile("the checksum of its state is wrong")
    span, checkpoint = parts
    return span, None if header.checkpoint_size is None else checkpoint


def _encode(header: Header) -> bytes:
    fingerprint, scope = header.fingerprint.encode(), header.scope.encode()
    assert max(len(fingerprint), len(scope)) <= MAX_TEXT_BYTES
    assert header.start <= len(header.tokens) <= MAX_TOKENS
    sizes = _SIZES.pack(
        MAGIC,
        VERSION,
        len(fingerprint),
        len(scope),
        len(header.tokens),
        header.start,
        header.span_size,
        -1 if header.checkpoint_size is None else header.checkpoint_size,
    )
    return sizes + fingerprint + scope + header.tokens.astype(_TOKEN, copy=False).tobytes()


def _read(file: BufferedReader, num_bytes: int) -> bytes:
    data = file.read(num_bytes)
    if len(data) != num_bytes:
        raise DamagedFile("it is cut off")
    return data


def _chunks(part: State) -> Iterator[memoryview]:
    view = part.data
    for start in range(0, len(view), _CHUNK_BYTES):
        yield view[start : start + _CHUNK_BYTES]
