from __future__ import annotations

import pytest

from llmd.config.byte_size import MAX_BYTES, ByteSize

KIB, MIB, GIB, TIB = (1024**power for power in range(1, 5))


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("0", 0),
        ("1500", 1500),
        ("1500B", 1500),
        ("1K", KIB),
        ("512MiB", 512 * MIB),
        ("512 mib", 512 * MIB),
        ("512Mi", 512 * MIB),
        ("2G", 2 * GIB),
        ("2g", 2 * GIB),
        (" 2 GB ", 2 * 10**9),
        ("1.5GiB", GIB + GIB // 2),
        ("1.5kB", 1500),
        ("3T", 3 * TIB),
        (str(MAX_BYTES), MAX_BYTES),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, num_bytes: int) -> None:
    assert ByteSize.parse(text) == num_bytes


def test_a_whole_number_is_bytes() -> None:
    assert ByteSize.parse(2**40) == 2**40


@pytest.mark.parametrize(
    "value",
    ["", "G", "-1", "1,5G", "1iB", "1 i", "2GX", "2 G iB", "1e9", "0x10", "inf", -1, 1.5, None,
     MAX_BYTES + 1, "8388608T", "9" * 5000],
)  # fmt: skip
def test_anything_else_is_no_size(value: object) -> None:
    with pytest.raises(ValueError):
        ByteSize.parse(value)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0"), (1, "1"), (1536, "1536"), (2 * KIB, "2KiB"), (1536 * MIB, "1536MiB"),
     (2 * GIB, "2GiB"), (2048 * TIB, "2048TiB"), (MAX_BYTES, str(MAX_BYTES))],
)  # fmt: skip
def test_a_size_is_written_in_its_largest_whole_unit(num_bytes: int, text: str) -> None:
    assert str(ByteSize(num_bytes)) == text
    assert ByteSize.parse(text) == num_bytes
