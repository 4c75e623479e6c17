from __future__ import annotations

import pytest

from llmd.config.duration import MAX_SECONDS, NEVER, Duration, parse_keep_alive


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        ("0", 0),
        (90, 90),
        (1.5, 1.5),
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("2d", 172_800),
    ],
)
def test_a_duration_is_read_as_people_write_it(value: object, seconds: float) -> None:
    assert Duration.parse(value) == seconds


@pytest.mark.parametrize(
    "value", ["", "m", "15 minutes", "1h30", "-1", -1, "1e9", True, None, [], MAX_SECONDS + 1,
              float("nan"), float("inf"), "9" * 5000]
)  # fmt: skip
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        Duration.parse(value)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (90, "1m30s"), (900, "15m"), (5400, "1h30m"), (1.5, "1s500ms")]
)
def test_a_duration_is_written_as_it_can_be_read(seconds: float, text: str) -> None:
    assert str(Duration(seconds)) == text
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0), ("0", 0), ("5m", 300), (300, 300), (-1, NEVER), ("-1", NEVER),
                           ("-5m", NEVER), (-0.5, NEVER)]
)  # fmt: skip
def test_keep_alive_is_a_duration_and_negative_for_ever(value: object, seconds: float) -> None:
    assert parse_keep_alive(value) == seconds


@pytest.mark.parametrize("value", ["soon", "-soon", True, None, "--1"])
def test_what_is_no_keep_alive_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_keep_alive(value)
