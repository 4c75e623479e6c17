"""The start-up table: each effective value, why, and the flag that changes it."""

from __future__ import annotations

from collections.abc import Iterator

from llmd.config.load import LoadedSettings
from llmd.engine.loading import LoadedModel
from llmd.engine.plan import EffectiveValue


def start_up_table(name: str, model: LoadedModel, loaded: LoadedSettings) -> Iterator[str]:
    """Lines for people, aligned in columns."""
    yield f"{name}: {model.description}, {model.num_bytes / 2**20:,.1f} MiB"
    width = max(len(row.name) for row in model.effective)
    value_width = max(len(row.value) for row in model.effective)
    for row in model.effective:
        reason = _origin(name, row, loaded) or row.reason
        yield f"  {row.name:<{width}}  {row.value:<{value_width}}  {reason} ({row.flag})"


def _origin(name: str, row: EffectiveValue, loaded: LoadedSettings) -> str | None:
    """Who set the value, where somebody did."""
    key = row.flag.removeprefix("--").replace("-", "_")
    origin = loaded.origin("models", name, key)
    return None if origin == "default" or origin == row.flag else f"{row.reason} by {origin}"
