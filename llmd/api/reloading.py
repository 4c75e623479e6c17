"""What a daemon says of its configuration, read once more."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmd.registry.registry import ModelChanges


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What other settings did. Keys are dotted: `server.port`."""

    file: Path | None
    applied: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    """They changed in the configuration, and the daemon goes on with what it was started with."""
    models: ModelChanges = ModelChanges()

    def encode(self) -> dict[str, Any]:
        return {
            "success": True,
            "file": None if self.file is None else str(self.file),
            "applied": list(self.applied),
            "needs_restart": list(self.needs_restart),
            "models": {name: list(ids) for name, ids in asdict(self.models).items()},
        }

    def describe(self) -> str:
        """One line for people."""
        models = asdict(self.models)
        told = [f"{how}: {', '.join(ids)}" for how, ids in models.items() if ids]
        if self.applied:
            told.append(f"applied: {', '.join(self.applied)}")
        if self.needs_restart:
            told.append(f"needs a restart: {', '.join(self.needs_restart)}")
        return "; ".join(told) or "nothing changed"
