"""What the engine has done so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """A snapshot; counters grow from the engine's start, seconds are of its clock."""

    num_running: int
    num_waiting: int
    num_cells: int
    num_free_cells: int
    num_idle_cells: int
    """Cells of prefixes that nothing runs through; they are given up when they are needed."""
    num_parked_bytes: int
    """Host RAM of prefixes outside of the model's memory."""
    num_steps: int
    num_prompt_tokens: int
    """That were computed."""
    num_cached_tokens: int
    """Prompt tokens that did not have to be."""
    num_live_hits: int
    """Of these: their state was in the model's memory, in host RAM, or on disk."""
    num_ram_hits: int
    num_disk_hits: int
    num_evicted: int
    """Tokens whose states left the host RAM for lack of room."""
    num_generated_tokens: int
    num_set_back: int
    step_seconds: float
    forward_seconds: float
    """The part of `step_seconds` that was spent inside the model."""
