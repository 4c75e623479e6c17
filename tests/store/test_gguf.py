from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from zoo.broken import BrokenKind, write_broken
from zoo.llama import write_llama

from llmd.errors import InvalidModelFile, ModelFileNotFound, ModelLoadError
from llmd.store.gguf import MAX_HEADER_BYTES, read_header
from llmd.store.model_file import read_model_file

Write = Callable[[bytes], Path]


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<{len(shape)}Q", *shape)
    return (
        text(name) + struct.pack("<I", len(shape)) + dimensions + struct.pack("<IQ", kind, offset)
    )


def start(num_tensors: int, num_keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys)


ARCHITECTURE = key(b"general.architecture", 8, text(b"llama"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(data: bytes) -> Path:
        path = tmp_path / "m.gguf"
        path.write_bytes(data)
        return path

    return write


def test_every_kind_of_value_is_read(write: Write) -> None:
    keys = [
        key(b"u8", 0, b"\xff"),
        key(b"i8", 1, b"\xff"),
        key(b"u16", 2, struct.pack("<H", 65535)),
        key(b"i16", 3, struct.pack("<h", -2)),
        key(b"u32", 4, struct.pack("<I", 2**32 - 1)),
        key(b"i32", 5, struct.pack("<i", -3)),
        key(b"f32", 6, struct.pack("<f", 0.5)),
        key(b"bool", 7, b"\x01"),
        key(b"text", 8, text("h\u00e9".encode())),
        key(b"u64", 10, struct.pack("<Q", 2**64 - 1)),
        key(b"i64", 11, struct.pack("<q", -4)),
        key(b"f64", 12, struct.pack("<d", 0.25)),
    ]
    header = read_header(write(start(0, len(keys)) + b"".join(keys)))
    assert header.values == {
        "u8": 255,
        "i8": -1,
        "u16": 65535,
        "i16": -2,
        "u32": 2**32 - 1,
        "i32": -3,
        "f32": 0.5,
        "bool": True,
        "text": "h\u00e9",
        "u64": 2**64 - 1,
        "i64": -4,
        "f64": 0.25,
    }


def test_lists_are_passed_over_and_read_when_asked_for(write: Write) -> None:
    texts = struct.pack("<IQ", 8, 3) + text(b"a") + text(b"") + text(b"bcd")
    numbers = struct.pack("<IQ", 5, 2) + struct.pack("<2i", 7, -7)
    keys = key(b"t", 9, texts) + key(b"n", 9, numbers) + key(b"after", 0, b"\x05")
    header = read_header(write(start(0, 3) + keys))
    assert list(header.texts("t")) == [b"a", b"", b"bcd"]
    assert header.integers("n") == (7, -7)
    assert (header.count("t"), header.count("n"), header.count("absent")) == (3, 2, 0)
    assert header.integer("after") == 5


def test_what_is_absent_is_none_or_empty(write: Write) -> None:
    header = read_header(write(start(0, 0)))
    assert header.text("t") is None
    assert header.integer("n") is None
    assert (list(header.texts("t")), header.integers("n")) == ([], ())


def test_a_value_of_another_type_is_damage(write: Write) -> None:
    words = key(b"list", 9, struct.pack("<IQ", 8, 1) + text(b"a"))
    header = read_header(write(start(0, 2) + key(b"number", 0, b"\x05") + words))
    for ask in (
        lambda: header.text("number"),
        lambda: header.integer("list"),
        lambda: header.count("number"),
        lambda: list(header.texts("number")),
        lambda: header.integers("list"),
    ):
        with pytest.raises(InvalidModelFile, match="is damaged: .* Check that the download is"):
            ask()


def test_tensors_have_their_shape_type_and_size(write: Write) -> None:
    infos = tensor(b"a", (256, 2), 12) + tensor(b"b", (4,), 0, 320)
    header = read_header(write(start(2, 0) + infos + bytes(600)))
    first, second = header.tensors
    assert (first.name, first.shape, first.num_elements, first.num_bytes) == (
        "a", (256, 2), 512, 288,
    )  # fmt: skip
    assert first.type is not None
    assert (first.type.name, second.num_bytes, second.offset) == ("Q4_K", 16, 320)


def test_a_tensor_of_a_newer_type_is_no_damage(write: Write) -> None:
    header = read_header(write(start(1, 0) + tensor(b"a", (32,), 999) + bytes(64)))
    assert header.tensors[0].type is None
    assert header.tensors[0].num_bytes == 0


ENDLESS = 2**63

HOSTILE = {
    "keys beyond the end": start(0, 1000),
    "endless keys": start(0, ENDLESS),
    "endless tensors": start(ENDLESS, 0),
    "a key beyond the end": start(0, 1) + struct.pack("<Q", ENDLESS) + bytes(20),
    "a key that is no text": start(0, 1) + key(b"\xff\xfe", 0, b"\x00"),
    "a key twice": start(0, 2) + ARCHITECTURE * 2,
    "a text beyond the end": start(0, 1) + key(b"k", 8, struct.pack("<Q", 1000)),
    "a value of no type": start(0, 1) + key(b"k", 77, bytes(8)),
    "a list of no type": start(0, 1) + key(b"k", 9, struct.pack("<IQ", 77, 1) + bytes(8)),
    "a list of lists": start(0, 1) + key(b"k", 9, struct.pack("<IQ", 9, 1) + bytes(24)),
    "a list beyond the end": start(0, 1) + key(b"k", 9, struct.pack("<IQ", 4, 1000)),
    "an endless list": start(0, 1) + key(b"k", 9, struct.pack("<IQ", 4, ENDLESS)),
    "texts beyond the end": start(0, 1)
    + key(b"k", 9, struct.pack("<IQ", 8, 2) + text(b"ab") + struct.pack("<Q", ENDLESS)),
    "fewer texts than counted": start(0, 1)
    + key(b"k", 9, struct.pack("<IQ", 8, 2) + text(b"abcdefgh")),
    "an alignment of nothing": start(0, 1) + key(b"general.alignment", 4, struct.pack("<I", 0)),
    "an odd alignment": start(0, 1) + key(b"general.alignment", 4, struct.pack("<I", 24)),
    "an alignment in words": start(0, 1) + key(b"general.alignment", 8, text(b"32")),
    "a tensor of many dimensions": start(1, 0) + tensor(b"a", (1,) * 5) + bytes(99),
    "an endless tensor": start(1, 0) + tensor(b"a", (ENDLESS, ENDLESS)) + bytes(99),
    "a tensor beyond the end": start(1, 0) + tensor(b"a", (1000,)) + bytes(99),
    "a tensor far beyond": start(1, 0) + tensor(b"a", (1,), 0, ENDLESS) + bytes(99),
    "a tensor at an odd place": start(1, 0) + tensor(b"a", (1,), 0, 3) + bytes(99),
    "a tensor of half a block": start(1, 0) + tensor(b"a", (33,), 8) + bytes(99),
    "a tensor twice": start(2, 0) + tensor(b"a", (1,)) * 2 + bytes(99),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_clear_error(name: str, write: Write) -> None:
    path = write(HOSTILE[name])
    with pytest.raises(InvalidModelFile) as caught:
        read_header(path)
    assert str(path) in caught.value.message
    assert "download" in caught.value.message.rpartition(": ")[2].lower()


def test_a_header_may_not_be_larger_than_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    count = MAX_HEADER_BYTES // 8
    with path.open("wb") as file:
        file.write(start(0, 1) + key(b"k", 9, struct.pack("<IQ", 8, count)))
        # Holes: it takes no room on the disk.
        file.truncate(2 * MAX_HEADER_BYTES)
    with pytest.raises(InvalidModelFile, match="makes its header larger than"):
        read_header(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it starts with b''"),
        (b"GG", "it starts with b'GG'"),
        (b"PK\x03\x04" + bytes(60), "is not a GGUF file"),
        (b"GGUF", "its version reaches beyond"),
        (start(0, 0, version=1), "version 1, which is no longer read"),
        (start(0, 0, version=99), "Upgrade llmd"),
        (b"GGUF\x00\x00\x00\x03" + bytes(16), "big-endian machines"),
    ],
)
def test_what_is_no_gguf_of_ours_is_named(data: bytes, words: str, write: Write) -> None:
    with pytest.raises(InvalidModelFile) as caught:
        read_header(write(data))
    assert words in caught.value.message


def test_a_file_that_is_cut_short_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelFile, match=r"is cut short: .* Download it again\."):
        read_header(write_broken(BrokenKind.TRUNCATED, tmp_path / "m.gguf"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileNotFound, match="no such file"):
        read_header(tmp_path / "absent.gguf")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileNotFound, match="cannot read"):
        read_header(tmp_path)


def mutated(header: bytes, generator: random.Random) -> bytes:
    """With a few bytes changed, taken out or put in, many of them near the start."""
    changed = bytearray(header)
    for _ in range(generator.choice((1, 1, 3))):
        at = generator.randrange(min(len(changed), generator.choice((64, 2048, len(header)))) + 1)
        match generator.randrange(4):
            case 0:
                changed[at : at + 1] = generator.randbytes(1)
            case 1:
                changed[at : at + 8] = struct.pack("<Q", generator.getrandbits(64))
            case 2:
                del changed[at : at + generator.randint(1, 40)]
            case _:
                changed[at:at] = generator.randbytes(generator.randint(1, 8))
    return bytes(changed)


@pytest.mark.parametrize("seed", range(8))
def test_mutated_files_are_read_or_end_in_clear_errors(
    seed: int, llama_path: Path, tmp_path: Path
) -> None:
    generator = random.Random(seed)
    data, path = llama_path.read_bytes(), tmp_path / "m.gguf"
    # Far enough that every key is in it, and every tensor's place.
    header = data[: data.index(b"output.weight") + 64]
    for _ in range(50):
        with path.open("wb") as out:
            out.write(mutated(header, generator))
            out.truncate(generator.choice((len(header) // 2, len(header), len(data))))
        try:
            file = read_model_file(path)
            file.special_tokens()
            assert file.num_parameters >= 0
            assert file.quantization
            assert [file.context_length, file.chat_template, file.sampling, file.license]
        except ModelLoadError as error:
            assert str(path) in error.message
            assert error.message.endswith((".", ")."))


def test_a_long_header_costs_little_memory(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "m.gguf")
    assert sum(sys.getsizeof(value) for value in read_header(path).values.values()) < 16_384
