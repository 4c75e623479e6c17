"""The values of `format` that can be enforced, as regular expressions and bounds.

Each expression matches only what its RFC allows; where a validator is known to be stricter (years
from 1 on, no leap seconds), it matches what both take.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_HOUR = "(?:[01][0-9]|2[0-3])"
_TIME = rf"{_HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{_HOUR}:[0-5][0-9])"

_DAYS = "(?:[0-9]+D)"
_MONTHS = f"(?:[0-9]+M{_DAYS}?)"
_SECONDS = "(?:[0-9]+S)"
_MINUTES = f"(?:[0-9]+M{_SECONDS}?)"
_TIME_SPAN = f"(?:T(?:[0-9]+H{_MINUTES}?|{_MINUTES}|{_SECONDS}))"
_DURATION = f"P(?:(?:[0-9]+Y{_MONTHS}?|{_MONTHS}|{_DAYS}){_TIME_SPAN}?|{_TIME_SPAN}|[0-9]+W)"

_LABEL = "[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL})*"
_ATOM = r"[0-9A-Za-z!#$%\x{26}'*+/=?^_`{|}\x{7e}-]+"
_EMAIL = rf"{_ATOM}(?:\.{_ATOM})*@{_HOSTNAME}"

_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_GROUP = "[0-9A-Fa-f]{1,4}"


def _ipv6() -> str:
    whole = f"{_GROUP}(?::{_GROUP}){{7}}"
    # `::` stands for one group at least, so seven others may be written.
    cut = [
        f"{_groups(before)}::{_groups(after)}" if (before or after) else "::"
        for before in range(8)
        for after in range(8 - before)
    ]
    return "|".join([whole, *cut])


def _groups(count: int) -> str:
    if count == 0:
        return ""
    return _GROUP if count == 1 else f"{_GROUP}(?::{_GROUP}){{{count - 1}}}"


_UUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


def _uuid(version: int) -> str:
    digits = "[0-9A-Fa-f]"
    return (
        f"{digits}{{8}}-{digits}{{4}}-{version}{digits}{{3}}-[89ABab]{digits}{{3}}-{digits}{{12}}"
    )


_UNRESERVED = r"0-9A-Za-z._\x{7e}-"
_MARKS = r"!$\x{26}'()*+,;="
_PERCENT = "%[0-9A-Fa-f]{2}"
_PATH_CHAR = f"(?:[{_MARKS}:@{_UNRESERVED}]|{_PERCENT})"
_QUERY = f"(?:[{_MARKS}:@/?{_UNRESERVED}]|{_PERCENT})*"
_USER = f"(?:[{_MARKS}:{_UNRESERVED}]|{_PERCENT})*"
_HOST = rf"(?:\[(?:{_ipv6()})\]|(?:[{_MARKS}{_UNRESERVED}]|{_PERCENT})*)"
_AUTHORITY = f"(?:{_USER}@)?{_HOST}(?::[0-9]*)?"
_ABSOLUTE = f"(?:/(?:{_PATH_CHAR}+(?:/{_PATH_CHAR}*)*)?)"
_TAIL = rf"(?:\?{_QUERY})?(?:#{_QUERY})?"
_ROOTLESS = f"(?:{_PATH_CHAR}+(?:/{_PATH_CHAR}*)*)"
_SEGMENT_WITHOUT_COLON = f"(?:[{_MARKS}@{_UNRESERVED}]|{_PERCENT})+"
_RELATIVE = f"(?:{_SEGMENT_WITHOUT_COLON}(?:/{_PATH_CHAR}*)*)"
_NETWORK = f"(?://{_AUTHORITY}(?:/{_PATH_CHAR}*)*)"
_URI = f"[A-Za-z][0-9A-Za-z+.-]*:(?:{_NETWORK}|{_ABSOLUTE}|{_ROOTLESS})?{_TAIL}"
_URI_REFERENCE = f"(?:{_URI}|(?:{_NETWORK}|{_ABSOLUTE}|{_RELATIVE})?{_TAIL})"

_POINTER = r"(?:/(?:[^\x{0}~/]|~[01])*)*"
_BASE64 = "(?:[0-9A-Za-z+/]{4})*(?:[0-9A-Za-z+/]{2}==|[0-9A-Za-z+/]{3}=)?"


@dataclass(frozen=True, slots=True)
class TextFormat:
    """`pattern` matches the whole text; `max_length` None is no limit."""

    pattern: str
    max_length: int | None = None


TEXT_FORMATS = {
    # RFC 3339
    "date": TextFormat(_DATE),
    "time": TextFormat(_TIME),
    "date-time": TextFormat(f"{_DATE}T{_TIME}"),
    "duration": TextFormat(_DURATION),
    # RFC 5321, without quoted names and address literals; RFC 1123
    "email": TextFormat(_EMAIL, 254),
    "hostname": TextFormat(_HOSTNAME, 253),
    # RFC 2673; RFC 4291, without the form that ends in an IPv4 address
    "ipv4": TextFormat(_IPV4),
    "ipv6": TextFormat(_ipv6()),
    # RFC 9562; RFC 3986; RFC 6901
    "uuid": TextFormat(_UUID),
    **{f"uuid{version}": TextFormat(_uuid(version)) for version in (1, 3, 4, 5, 6, 7, 8)},
    "uri": TextFormat(_URI),
    "uri-reference": TextFormat(_URI_REFERENCE),
    "json-pointer": TextFormat(_POINTER),
    "relative-json-pointer": TextFormat(f"(?:0|[1-9][0-9]*)(?:#|{_POINTER})"),
    # OpenAPI: RFC 4648 base64
    "byte": TextFormat(_BASE64),
}

# OpenAPI's, and what generators of schemas write for the types of their languages.
_LARGEST = Fraction(2**63 - 1024)
NUMBER_FORMATS: dict[str, tuple[Fraction, Fraction] | None] = {
    "int8": (Fraction(-(2**7)), Fraction(2**7 - 1)),
    "int16": (Fraction(-(2**15)), Fraction(2**15 - 1)),
    "int32": (Fraction(-(2**31)), Fraction(2**31 - 1)),
    # Bounds go through double precision: the outermost values are given up.
    "int64": (-_LARGEST, _LARGEST),
    "uint8": (Fraction(0), Fraction(2**8 - 1)),
    "uint16": (Fraction(0), Fraction(2**16 - 1)),
    "uint32": (Fraction(0), Fraction(2**32 - 1)),
    "uint64": (Fraction(0), _LARGEST),
    "uint": (Fraction(0), _LARGEST),
    "float": None,
    "double": None,
}

# These say how a text is meant or shown; every text has them.
SILENT_FORMATS = frozenset(
    "password binary textarea markdown multi-line path file-path directory-path".split()
)
