"""Where the states of reused prompts were."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from llmd.engine.parking import Parking
from llmd.engine.radix import Node


class Tier(Enum):
    """A place of computed states."""

    LIVE = "live"
    """The model's own memory."""
    RAM = "ram"
    DISK = "disk"


Place = tuple[int, int, Tier]
"""A node's first token, the one behind its last, and where its state is."""


class CacheHits:
    """Tokens that did not have to be computed, by where their state was. Engine thread only."""

    def __init__(self, parking: Parking) -> None:
        self.num_live = self.num_in_ram = self.num_on_disk = 0
        self._parking = parking

    def locate(self, nodes: Sequence[Node]) -> list[Place]:
        """Where the nodes of a prefix are now; for `note`, when they have been brought back."""
        return [(node.start, node.end, self._tier(node)) for node in nodes]

    def note(self, places: list[Place], num_reused: int) -> None:
        """So many tokens of the prefix were reused."""
        for start, end, tier in places:
            num = max(0, min(end, num_reused) - start)
            match tier:
                case Tier.LIVE:
                    self.num_live += num
                case Tier.RAM:
                    self.num_in_ram += num
                case Tier.DISK:
                    self.num_on_disk += num

    def _tier(self, node: Node) -> Tier:
        if node.is_live:
            return Tier.LIVE
        return Tier.DISK if self._parking.is_stored(node) else Tier.RAM
