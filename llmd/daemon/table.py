"""The start-up table: each effective value, why, and the flag that changes it."""

from __future__ import annotations

from collections.abc import Iterator

from llmd.config.load import LoadedSettings
from llmd.engine.loading import LoadedModel


def start_up_table(name: str, model: LoadedModel, loaded: LoadedSettings) -> Iterator[str]:
    """Lines for people, aligned in columns."""
    size = f"{model.num_parameters / 1e6:,.1f} M parameters, {model.num_bytes / 2**20:,.1f} MiB"
    yield f"{name}: {model.description}, {size}"
    width = max(len(row.name) for row in model.effective)
    value_width = max(len(row.value) for row in model.effective)
    for row in model.effective:
        yield f"  {row.name:<{width}}  {row.value:<{value_width}}  {row.reason} ({row.flag})"
