"""Sizes and times as people read them."""

from __future__ import annotations

_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def size_text(num_bytes: float) -> str:
    """Such as 4.7 GiB, with two or three digits."""
    for size, unit in _UNITS:
        if num_bytes >= size:
            amount = num_bytes / size
            return f"{amount:.0f} {unit}" if amount >= 100 else f"{amount:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


def duration_text(seconds: float) -> str:
    """Such as 0:32 or 1:05:09."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
