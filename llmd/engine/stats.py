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
    num_steps: int
    num_prompt_tokens: int
    num_generated_tokens: int
    num_set_back: int
    step_seconds: float
    forward_seconds: float
    """The part of `step_seconds` that was spent inside the model."""
