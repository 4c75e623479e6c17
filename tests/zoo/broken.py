"""Files that a user might point a daemon at and that must not start it."""

from __future__ import annotations

import struct
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from zoo.llama import write_llama
from zoo.template import BAD_SYNTAX


class BrokenKind(StrEnum):
    EMPTY = "empty"
    MAGIC = "magic"
    VERSION = "version"
    TRUNCATED = "truncated"
    UNKNOWN_ARCHITECTURE = "unknown-architecture"
    MISSING_TENSOR = "missing-tensor"
    HUGE_TENSOR = "huge-tensor"
    BAD_TEMPLATE = "bad-template"
    """llama.cpp loads this one: only rendering a chat can tell."""


def write_broken(kind: BrokenKind, path: Path) -> Path:
    match kind:
        case BrokenKind.EMPTY:
            path.write_bytes(b"")
        case BrokenKind.MAGIC:
            _patch(path, 0, b"PK\x03\x04")
        case BrokenKind.VERSION:
            _patch(path, 4, struct.pack("<I", 99))
        case BrokenKind.TRUNCATED:
            write_llama(path)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case BrokenKind.UNKNOWN_ARCHITECTURE:
            write_llama(path)
            path.write_bytes(
                path.read_bytes()
                .replace(b"llama.", b"lambs.")
                .replace(
                    _string(b"general.architecture") + struct.pack("<I", 8) + _string(b"llama"),
                    _string(b"general.architecture") + struct.pack("<I", 8) + _string(b"lambs"),
                )
            )
        case BrokenKind.MISSING_TENSOR:
            write_llama(path, without="blk.1.ffn_up.weight")
        case BrokenKind.HUGE_TENSOR:
            # A tensor's info: its name, u32 number of dimensions, u64 for each (GGUF v3).
            write_llama(path)
            name = _string(b"output_norm.weight")
            start = path.read_bytes().index(name) + len(name) + 4
            _patch(path, start, struct.pack("<Q", 1 << 40))
        case BrokenKind.BAD_TEMPLATE:
            write_llama(path, chat_template=BAD_SYNTAX)
        case _:
            assert_never(kind)
    return path


def _string(text: bytes) -> bytes:
    """A GGUF string: u64 length, then the bytes."""
    return struct.pack("<Q", len(text)) + text


def _patch(path: Path, start: int, patch: bytes) -> None:
    """Overwrite bytes of the model at `path`, made first where there is none."""
    if not path.exists():
        write_llama(path)
    content = path.read_bytes()
    path.write_bytes(content[:start] + patch + content[start + len(patch) :])
