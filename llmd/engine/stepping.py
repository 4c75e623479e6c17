"""What an engine thread runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from llmd.core.output import Output
from llmd.engine.stats import EngineStats


class SteppingEngine(Protocol):
    """An engine that takes requests of its own kind and works on all of them a step at a time.
    Engine thread only.
    """

    @property
    def is_idle(self) -> bool: ...

    def add(self, request: Any) -> None:
        """Queue a request; whoever leases a model hands it the kind that it takes."""
        ...

    def abort(self, request_id: str) -> None:
        """Forget a request, in whatever state it is; unknown ids are ignored."""
        ...

    def end(self, request_id: str) -> list[Output]:
        """Let a request end with what it has so far; its last outputs."""
        ...

    def step(self, meanwhile: Callable[[list[Output]], None] | None = None) -> list[Output]:
        """Compute one batch; `meanwhile` is called when all is ready for the model. Raises
        EngineBroken when nothing can be computed any more.
        """
        ...

    def fail_all(self, reason: str) -> list[Output]:
        """End everything with an error, and empty the model's memory."""
        ...

    def stats(self) -> EngineStats: ...

    def close(self) -> None:
        """Free everything, the model included."""
        ...
