"""How often a model came and went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LoadCounts:
    """Since the daemon's start."""

    num_loaded: int = 0
    num_failed: int = 0
    """Loads that failed."""
    num_broken: int = 0
    """Engines that ended by themselves, and were asked for again."""
    num_evicted: int = 0
    """Times that it made room for others."""
    load_seconds: float = 0.0
    """Of all loads that did not fail."""
