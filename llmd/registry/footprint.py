"""How much memory models take, and may take."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.config.size_text import size_text

UNLIMITED = 2**62


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes in the host's memory and on devices."""

    host: int = 0
    device: int = 0

    @property
    def total(self) -> int:
        return self.host + self.device

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(self.host + other.host, self.device + other.device)

    def __str__(self) -> str:
        host = size_text(self.host)
        return f"{host} and {size_text(self.device)} on GPUs" if self.device else host


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes that footprints may take: of the host's memory, on devices, and of both together."""

    host: int = UNLIMITED
    device: int = UNLIMITED
    total: int = UNLIMITED

    def hold(self, footprint: Footprint) -> bool:
        return (
            footprint.host <= self.host
            and footprint.device <= self.device
            and footprint.total <= self.total
        )
