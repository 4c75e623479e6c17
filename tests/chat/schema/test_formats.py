from __future__ import annotations

import calendar

import pytest
from schema_matching import document_matcher

SAMPLES = {
    "date": ("2024-02-29|1999-12-31|2000-02-29", "2023-02-29|1900-02-29|0000-01-01|2024-04-31"),
    "time": ("12:00:00Z|23:59:59.123+02:00", "24:00:00Z|12:00:00|12:00Z"),
    "date-time": ("2024-02-29T12:00:00Z", "2024-02-29|2024-02-29 12:00:00Z"),
    "duration": ("P1D|PT1H30M|P1Y2M3DT4H5M6S|P3W", "P|PT|1D|P1W1D|P1Y1D"),
    "email": ("a@b|john.doe+x@example.co.uk", "a|@b|a..b@c|a@-b"),
    "hostname": ("a|a-b.c", "-a|a_b|a-"),
    "ipv4": ("0.0.0.0|255.255.255.255", "256.1.1.1|01.1.1.1|1.1.1"),
    "ipv6": ("::|::1|1::|1:2:3:4:5:6:7:8|fe80::1:2|1:2:3:4:5:6:7::", "1::2::3|1:2|12345::"),
    "uuid": ("123e4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"),
    "uuid4": (
        "123e4567-e89b-42d3-a456-426614174000",
        "123e4567-e89b-12d3-a456-426614174000",
    ),
    "uri": ("http://a.b/c?d=e#f|mailto:a@b|urn:x:y|http://[::1]:80/", "/a|a b:|http://a b|1a:b"),
    "uri-reference": ("a/b|/a|../x?y|#f|//h/p", "a b|%zz"),
    "json-pointer": ("/a/b~1c|/", "a|/~2"),
    "relative-json-pointer": ("0|1/a|2#", "-1|/a"),
    "byte": ("aGk=|aGVsbG8=|YQ==", "a|aGk"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_takes_what_it_names_and_nothing_else(name: str) -> None:
    match = document_matcher({"type": "string", "format": name})
    fitting, others = (texts.split("|") for texts in SAMPLES[name])
    assert [text for text in fitting if not match(text)] == []
    assert [text for text in others if match(text)] == []


@pytest.mark.parametrize("year", [1, 4, 100, 400, 1900, 2000, 2023, 9996])
def test_months_have_their_days(year: int) -> None:
    match = document_matcher({"type": "string", "format": "date"})
    for month in (1, 2, 4, 12):
        days = [day for day in range(1, 32) if match(f"{year:04}-{month:02}-{day:02}")]
        assert len(days) == calendar.monthrange(year, month)[1]


def test_an_email_is_no_longer_than_mail_allows() -> None:
    match = document_matcher({"type": "string", "format": "email"})
    assert match("a" * 200 + "@b.c")
    assert not match("a" * 300 + "@b.c")


@pytest.mark.parametrize(
    ("name", "fitting", "other"),
    [("int32", 2**31 - 1, 2**31), ("uint8", 255, 256), ("int64", 10**18, 2**63)],
)
def test_formats_of_numbers_are_bounds(name: str, fitting: int, other: int) -> None:
    match = document_matcher({"type": "integer", "format": name})
    assert match(fitting)
    assert not match(other)


@pytest.mark.parametrize("name", ["password", "binary", "file-path"])
def test_formats_that_say_nothing_are_let_through(name: str) -> None:
    assert document_matcher({"type": "string", "format": name})("anything")
