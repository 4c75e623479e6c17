from __future__ import annotations

import pytest

from llmd.config.size_text import duration_text, size_text


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (150 * 2**20, "150 MiB"),
        (4.7 * 2**30, "4.7 GiB"),
        (2**41, "2.0 TiB"),
    ],
)
def test_a_size_is_in_the_largest_unit_that_leaves_a_whole_one(
    num_bytes: float, expected: str
) -> None:
    assert size_text(num_bytes) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4, "0:00"), (32, "0:32"), (3909, "1:05:09"), (59.6, "1:00")]
)
def test_a_duration_is_written_as_on_a_clock(seconds: float, expected: str) -> None:
    assert duration_text(seconds) == expected
