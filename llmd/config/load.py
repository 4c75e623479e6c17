"""The settings in force: defaults < file < environment < flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmd.config.keys import Key, allowed, dotted, flag, in_model, known_keys
from llmd.config.settings import Settings
from llmd.config.sources import Layer, Setting, find_file, read_environment, read_file
from llmd.errors import ConfigError

_SOURCE: Key = ("model", "source")


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, the file they were read from (None without one), and who set each key that is not
    at its default.
    """

    settings: Settings
    file: Path | None
    origins: Mapping[Key, str]

    def origin(self, *key: str) -> str:
        """Where the value of `key` comes from, such as `--port`, `LLMD_SERVER__PORT`,
        `llmd.toml line 3` or `default`: `origin("server", "port")`.
        """
        return self.origins.get(key, "default")


def load(
    flags: Mapping[str, Any], config: Path | None, environ: Mapping[str, str], cwd: Path
) -> LoadedSettings:
    """Read and check the whole configuration.

    `flags` maps dotted keys (`server.port`) to values; `model.source` may also name a
    [models.NAME] section. Raises ConfigError, which names where the fault stands and its cure.
    """
    file = find_file(config, environ, cwd)
    in_file = read_file(file) if file else {}
    over: Layer = read_environment(environ)
    for name, value in flags.items():
        key = tuple(name.split("."))
        over[key] = Setting(value, flag(key))
    section = _choose_section(in_file, over.get(_SOURCE))
    for name in _sections(in_file):
        # Sections that are not served are checked too: a fault there is better found today.
        _validate(_flattened(in_file, name))
    if section is not None:
        over.pop(_SOURCE, None)
    effective = _flattened(in_file, section) | over
    settings = _validate(effective)
    if section is not None:
        settings = settings.model_copy(update={"models": {section: settings.model}})
    return LoadedSettings(settings, file, {key: at.origin for key, at in effective.items()})


def _sections(layer: Layer) -> dict[str, None]:
    return {key[1]: None for key in layer if key[0] == "models"}


def _choose_section(layer: Layer, source: Setting | None) -> str | None:
    """The [models.NAME] to serve; None to serve [model]."""
    sections = list(_sections(layer))
    if source is not None:
        return source.value if source.value in sections else None
    if len(sections) > 1:
        origin = next(at.origin for key, at in layer.items() if key[:2] == ("models", sections[1]))
        raise ConfigError(
            f"{origin}: a second model, and this version of llmd serves one at a time. Choose one: "
            f"llmd serve {' | '.join(sections)}"
        )
    return sections[0] if sections else None


def _flattened(layer: Layer, section: str | None) -> Layer:
    """The layer with that section laid over [model], and without the others."""
    own = {in_model(key): at for key, at in layer.items() if key[:2] == ("models", section)}
    return {key: at for key, at in (layer | own).items() if key[0] != "models" and len(key) > 1}


def _validate(layer: Layer) -> Settings:
    tree: dict[str, Any] = {}
    for key, at in layer.items():
        table = tree
        for part in key[:-1]:
            table = table.setdefault(part, {})
        table[key[-1]] = at.value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(_explain(layer, first["loc"], first["msg"])) from error


def _explain(layer: Layer, location: tuple[int | str, ...], reason: str) -> str:
    path = tuple(str(part) for part in location)
    # Behind the key pydantic names the member of a union or the index in a list.
    key = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in layer), None)
    if key is None:
        # A rule between several keys, whose message is ours and tells the cure.
        return f"{'.'.join(path)}: {reason.removeprefix('Value error, ')}."
    at = layer[key]
    return (
        f"{at.origin}: {dotted(key)} cannot be {at.value!r}. "
        f"Set it to {allowed(known_keys()[key])}."
    )
