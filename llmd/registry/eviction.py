"""Which models make room for another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmd.registry.footprint import Bounds, Footprint


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model, as the choice sees it. One that `is_leaving` is on its way out already."""

    name: str
    footprint: Footprint
    last_used: float
    is_busy: bool = False
    is_leaving: bool = False


def choose_evictions(
    needed: Footprint, residents: Sequence[Resident], bounds: Bounds
) -> tuple[Resident, ...] | None:
    """The residents to take out, first to last, so that `needed` fits beside what stays, all within
    `bounds`; None where it would not fit alone.

    Those that leave anyway count as gone. Of the others the least recently used go first, those
    that are in use only where the idle ones are not enough, and none that is of no help.
    """
    if not bounds.hold(needed):
        return None
    staying = [resident for resident in residents if not resident.is_leaving]
    chosen: list[Resident] = []
    for resident in sorted(staying, key=lambda each: (each.is_busy, each.last_used)):
        if _fits(needed, staying, chosen, bounds):
            break
        chosen.append(resident)
    for resident in reversed(chosen):
        fewer = [each for each in chosen if each is not resident]
        if _fits(needed, staying, fewer, bounds):
            chosen = fewer
    return tuple(chosen)


def _fits(
    needed: Footprint, staying: Iterable[Resident], without: list[Resident], bounds: Bounds
) -> bool:
    total = needed
    for resident in staying:
        if resident not in without:
            total += resident.footprint
    return bounds.hold(total)
