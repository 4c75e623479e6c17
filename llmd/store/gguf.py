"""The header of a GGUF file: its keys and values, and where its tensors lie.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3,
little-endian. A file may come from anybody: every count, length and offset is held against the
file's size before it is used, so a damaged or hostile file ends in InvalidModelFile and costs
little time and memory.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmd.errors import InvalidModelFile
from llmd.store.cursor import DOWNLOAD_AGAIN, Cursor, opened
from llmd.store.tensor_type import TENSOR_TYPES, TensorType

MAX_HEADER_BYTES = 256 * 2**20
"""The largest vocabularies take some 20 MB."""

MAX_TEXT_BYTES = 64 * 2**20
MAX_NAME_BYTES = 2**16 - 1
MAX_KEYS = 2**16
MAX_TENSORS = 2**20

MAX_DIMENSIONS = 4
"""GGML_MAX_DIMS (ggml.h)."""

MAX_PER_LAYER = 4096
"""More than any model has layers: such a list is read into memory whole."""

MAX_ELEMENTS = 2**63 - 1

# The values of gguf_metadata_value_type, with struct's letters for the numbers.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_BOOL, _TEXT, _ARRAY = 7, 8, 9

# The shortest there can be: a key of no length, its type, a byte; a tensor of no dimensions.
_MIN_KEY_BYTES, _MIN_TENSOR_BYTES = 8 + 4 + 1, 8 + 4 + 4 + 8

_ALIGNMENT_KEY, _DEFAULT_ALIGNMENT = "general.alignment", 32


@dataclass(frozen=True, slots=True)
class GgufArray:
    """An array that was passed over: `count` values of the type `kind`, in `num_bytes` bytes from
    byte `offset` on.
    """

    kind: int
    count: int
    offset: int
    num_bytes: int


Value = bool | int | float | str | GgufArray


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor. `shape` counts its elements along each dimension, the innermost first; `offset` is
    in bytes from the start of the file's data.
    """

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int

    @property
    def type(self) -> TensorType | None:
        """None for a type that is newer than this llmd."""
        return TENSOR_TYPES.get(self.type_id)

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """0 where the type is not known."""
        if self.type is None:
            return 0
        return self.num_elements // self.type.block_length * self.type.block_bytes


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands in one file before its weights. Immutable; arrays are read from the file again
    when they are asked for. The methods raise InvalidModelFile for a value of another type.
    """

    path: Path
    num_bytes: int
    """The size of the whole file."""
    values: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]

    def text(self, key: str) -> str | None:
        """None where there is no such key."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self._mistyped(key, "a text")
        return value

    def integer(self, key: str) -> int | None:
        """None where there is no such key."""
        value = self.values.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._mistyped(key, "a whole number")
        return value

    def count(self, key: str) -> int:
        """The length of an array; 0 where there is none."""
        found = self._array(key)
        return 0 if found is None else found.count

    def texts(self, key: str) -> Iterator[bytes]:
        """The texts of an array, as they stand in the file; none where there is none."""
        found = self._array(key)
        if found is None:
            return
        if found.kind != _TEXT:
            raise self._mistyped(key, "a list of texts")
        data, end = self._read(found, key), 0
        for _ in range(found.count):
            start = end + 8
            end = start + int.from_bytes(data[end:start], "little")
            yield data[start:end]

    def integers(self, key: str) -> tuple[int, ...]:
        """The whole numbers of an array; none where there is none."""
        found = self._array(key)
        if found is None:
            return ()
        letter = _NUMBERS.get(found.kind, "")
        if letter not in set("BbHhIiQq"):
            raise self._mistyped(key, "a list of whole numbers")
        return struct.unpack(f"<{found.count}{letter}", self._read(found, key))

    def per_layer(self, key: str, num_layers: int) -> tuple[int, ...] | None:
        """What a key says of each layer: one number, or true or false, for all of them, or a list
        of these, whose missing values are 0. None where there is no such key.
        """
        value = self.values.get(key)
        if isinstance(value, GgufArray):
            if value.count > MAX_PER_LAYER:
                raise self._mistyped(key, "a list of a value for each layer")
            found = self._flags(key) if value.kind == _BOOL else self.integers(key)
            return (*found[:num_layers], *(0,) * (num_layers - len(found)))
        if isinstance(value, bool):
            return (int(value),) * num_layers
        number = self.integer(key)
        return None if number is None else (number,) * num_layers

    def _flags(self, key: str) -> tuple[int, ...]:
        found = self._array(key)
        return () if found is None else tuple(map(bool, self._read(found, key)))

    def _array(self, key: str) -> GgufArray | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, GgufArray):
            raise self._mistyped(key, "a list")
        return value

    def _read(self, found: GgufArray, key: str) -> bytes:
        with opened(self.path, limit=MAX_HEADER_BYTES) as cursor:
            cursor.seek(found.offset)
            return cursor.take(found.num_bytes, key)

    def _mistyped(self, key: str, wanted: str) -> InvalidModelFile:
        return InvalidModelFile(f"{self.path} is damaged: {key} is not {wanted}. {DOWNLOAD_AGAIN}")


def read_header(path: Path) -> GgufHeader:
    """Read the header of one file. Raises ModelFileNotFound or InvalidModelFile.

    It takes about a tenth of a second for a vocabulary of 150,000 tokens.
    """
    with opened(path, limit=MAX_HEADER_BYTES) as cursor:
        num_tensors, num_keys = _read_start(cursor)
        values: dict[str, Value] = {}
        for _ in range(num_keys):
            key = _read_name(cursor, "a key's name")
            if key in values:
                raise cursor.damaged(f"it has the key {key!r} twice")
            values[key] = _read_value(cursor, key)
        tensors: dict[str, TensorInfo] = {}
        for _ in range(num_tensors):
            tensor = _read_tensor(cursor)
            if tensor.name in tensors:
                raise cursor.damaged(f"it has the tensor {tensor.name!r} twice")
            tensors[tensor.name] = tensor
        alignment = _alignment(cursor, values)
        start = -(-cursor.position // alignment) * alignment
        for tensor in tensors.values():
            _check_tensor(cursor, tensor, alignment, start)
        return GgufHeader(path, cursor.size, values, tuple(tensors.values()))


def _read_start(cursor: Cursor) -> tuple[int, int]:
    """The numbers of tensors and of keys."""
    magic = cursor.take(min(4, cursor.size), "its first bytes")
    if magic != b"GGUF":
        raise InvalidModelFile(
            f"{cursor.path} is not a GGUF file (it starts with {magic!r}). Give the path of a "
            f".gguf file."
        )
    version = int(cursor.number("I", "its version"))
    if version not in (2, 3):
        if version and version & 0xFFFF == 0:
            reason = "is written for big-endian machines. Get its little-endian file"
        elif version == 1:
            reason = "is of GGUF version 1, which is no longer read. Get a newer file of the model"
        else:
            reason = f"is of GGUF version {version}, which this llmd does not know. Upgrade llmd"
        raise InvalidModelFile(f"{cursor.path} {reason}, or check that the download is complete.")
    num_tensors = cursor.length(
        "the list of tensors", most=MAX_TENSORS, unit_bytes=_MIN_TENSOR_BYTES
    )
    return num_tensors, cursor.length("the list of keys", most=MAX_KEYS, unit_bytes=_MIN_KEY_BYTES)


def _read_name(cursor: Cursor, what: str) -> str:
    data = cursor.text(what, most=MAX_NAME_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise cursor.damaged(f"{what} is not UTF-8 ({data[:40]!r})") from None


def _read_value(cursor: Cursor, key: str) -> Value:
    kind = int(cursor.number("I", f"the type of {key}"))
    if kind in _NUMBERS:
        return cursor.number(_NUMBERS[kind], key)
    if kind == _BOOL:
        return cursor.number("B", key) != 0
    if kind == _TEXT:
        return cursor.text(key, most=MAX_TEXT_BYTES).decode("utf-8", "replace")
    if kind != _ARRAY:
        raise cursor.damaged(f"{key} has an unknown type, {kind}")
    kind = int(cursor.number("I", f"the type of {key}"))
    unit_bytes = {_BOOL: 1, _TEXT: 8}.get(kind) or struct.calcsize(_NUMBERS.get(kind, ""))
    if not unit_bytes:
        raise cursor.damaged(f"{key} is a list of an unknown type, {kind}")
    count = cursor.length(key, most=MAX_HEADER_BYTES, unit_bytes=unit_bytes)
    start = cursor.position
    if kind == _TEXT:
        cursor.skip_texts(count, key)
    else:
        cursor.skip(count * unit_bytes, key)
    return GgufArray(kind, count, start, cursor.position - start)


def _read_tensor(cursor: Cursor) -> TensorInfo:
    name = _read_name(cursor, "a tensor's name")
    num_dimensions = int(cursor.number("I", name))
    if num_dimensions > MAX_DIMENSIONS:
        raise cursor.damaged(f"the tensor {name!r} has {num_dimensions} dimensions")
    shape = tuple(int(cursor.number("Q", name)) for _ in range(num_dimensions))
    if math.prod(shape) > MAX_ELEMENTS:
        raise cursor.damaged(f"the tensor {name!r} has an impossible shape, {shape}")
    return TensorInfo(name, shape, int(cursor.number("I", name)), int(cursor.number("Q", name)))


def _alignment(cursor: Cursor, values: Mapping[str, Value]) -> int:
    alignment = values.get(_ALIGNMENT_KEY, _DEFAULT_ALIGNMENT)
    # Of one bit: a power of two.
    if not isinstance(alignment, int) or alignment < 1 or alignment.bit_count() != 1:
        raise cursor.damaged(f"{_ALIGNMENT_KEY} is {alignment}, which is no power of two")
    return alignment


def _check_tensor(cursor: Cursor, tensor: TensorInfo, alignment: int, start: int) -> None:
    if tensor.offset % alignment:
        raise cursor.damaged(f"the tensor {tensor.name!r} lies at an odd place, {tensor.offset}")
    if tensor.type is not None and tensor.shape and tensor.shape[0] % tensor.type.block_length:
        raise cursor.damaged(
            f"the tensor {tensor.name!r} has rows of {tensor.shape[0]} elements, which "
            f"{tensor.type.name} cannot store"
        )
    end = start + tensor.offset + tensor.num_bytes
    if end > cursor.size:
        raise InvalidModelFile(
            f"{cursor.path} is cut short: it has {cursor.size} bytes, and the tensor "
            f"{tensor.name!r} ends at byte {end}. Download it again."
        )
