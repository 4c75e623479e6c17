"""Sizes in bytes as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

MAX_BYTES = 2**63 - 1
"""The largest whole number of TOML, and of a file's size."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)(B?)\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class ByteSize(int):
    """A number of bytes. Takes whole numbers, and texts such as `512MiB`, `2G` or `1.5 GB`:
    K, M, G and T alone or with iB count in 1024s, with B alone in 1000s (IEC 80000-13).
    """

    @classmethod
    def parse(cls, value: object) -> ByteSize:
        """Raises ValueError for what is no size, or is more than MAX_BYTES."""
        if isinstance(value, int):
            return cls._checked(value)
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None or (match[3] and not match[2]):
            raise ValueError("not a size such as 512MiB or 2G")
        number, prefix, binary, byte = match.groups()
        base = 1000 if byte and not binary else 1024
        return cls._checked(round(Fraction(number) * base ** _POWERS[prefix.upper()]))

    @classmethod
    def _checked(cls, num_bytes: int) -> ByteSize:
        if not 0 <= num_bytes <= MAX_BYTES:
            raise ValueError(f"not from 0 to {MAX_BYTES} bytes")
        return cls(num_bytes)

    def __str__(self) -> str:
        """In the largest unit that leaves a whole number; read back it is the same size."""
        number, unit = int(self), ""
        for larger in ("KiB", "MiB", "GiB", "TiB"):
            if number == 0 or number % 1024:
                break
            number, unit = number // 1024, larger
        return f"{number}{unit}"
