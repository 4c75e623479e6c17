"""What holds in the end: each value and who set it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from llmd.config.keys import Key
from llmd.config.load import LoadedSettings


@dataclass(frozen=True, slots=True)
class Effective:
    """A value in a section, such as ("server",) or ("models", "NAME"); None is no value."""

    section: Key
    key: Key
    value: Any
    origin: str


def effective(loaded: LoadedSettings) -> Iterator[Effective]:
    """Of the server, then of every model that is served, in the order of the settings."""
    yield from _of(loaded, ("server",), loaded.settings.server)
    for name, model in loaded.settings.models.items():
        yield from _of(loaded, ("models", name), model)


def _of(
    loaded: LoadedSettings, section: Key, settings: BaseModel, above: Key = ()
) -> Iterator[Effective]:
    for name in type(settings).model_fields:
        value, key = getattr(settings, name), (*above, name)
        if isinstance(value, BaseModel):
            yield from _of(loaded, section, value, key)
        else:
            yield Effective(section, key, value, loaded.origin(*section, *key))
