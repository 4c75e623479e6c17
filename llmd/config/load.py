"""The settings in force: defaults < file < environment < flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmd.config.api_keys import ApiKey, configured_keys
from llmd.config.keys import Key, allowed, dotted, flag, in_model, is_secret, known_keys
from llmd.config.model_reference import served_id
from llmd.config.section import Contradiction
from llmd.config.settings import ModelSettings, Settings
from llmd.config.sources import (
    Fault,
    Layer,
    Setting,
    find_file,
    read_environment,
    read_file,
)
from llmd.errors import ConfigError

_SOURCE: Key = ("model", "source")


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, the file they were read from (None without one), and who set each key that is not
    at its default: those of a model to serve stand under ("models", its id, ...).
    """

    settings: Settings
    file: Path | None
    origins: Mapping[Key, str]
    preloaded: tuple[str, ...]
    """Ids of the models to load at the start."""
    again: Callable[[], LoadedSettings] = field(compare=False, repr=False)
    """Reads the same places once more. Raises ConfigError."""

    def read_keys(self) -> tuple[ApiKey, ...]:
        """The keys of which a client must bring one, as their file has them now; none leaves the
        daemon open. Only the daemon itself needs to be able to read them. Raises ConfigError.
        """
        faults: list[Fault] = []
        keys = configured_keys(self.settings.server, faults)
        if faults:
            raise ConfigError(faults[0].message)
        return keys

    def origin(self, *key: str) -> str:
        """Where the value of `key` comes from, such as `--port`, `LLMD_SERVER__PORT`,
        `llmd.toml line 3` or `default`: `origin("server", "port")`.
        """
        return self.origins.get(key, "default")


def load(
    flags: Mapping[str, Any],
    config: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    models: Sequence[str] = (),
    name_of: Callable[[str], str] = served_id,
) -> LoadedSettings:
    """Read and check the whole configuration.

    `flags` maps dotted keys (`server.port`) to values. `models` are the MODELs to serve, which may
    name [models.NAME] sections; left out, the file's sections are served, or [model] where it has
    none. `name_of` tells the id of a MODEL that has no other name. Raises ConfigError, which names
    where the first fault stands and its cure.
    """
    faults: list[Fault] = []
    layers = _read(flags, config, environ, cwd, faults)
    loaded = _lay(layers, tuple(models), faults, name_of)
    if faults:
        raise ConfigError(faults[0].message)
    assert loaded is not None
    again = partial(load, dict(flags), config, environ, cwd, tuple(models), name_of)
    return replace(loaded, again=again)


def find_faults(
    config: Path | None, environ: Mapping[str, str], cwd: Path
) -> tuple[Path | None, list[Fault]]:
    """The configuration file, and all that is wrong in it, by lines, and in the environment. Raises
    ConfigError where the file cannot be read.
    """
    faults: list[Fault] = []
    layers = _read({}, config, environ, cwd, faults)
    loaded = _lay(layers, (), faults, served_id)
    if loaded is not None:
        configured_keys(loaded.settings.server, faults)
    found = list(dict.fromkeys(faults))
    return layers.file, sorted(found, key=lambda fault: (fault.line is None, fault.line or 0))


@dataclass(frozen=True, slots=True)
class _Layers:
    file: Path | None
    in_file: Layer
    over: Layer
    """What the environment and the flags say."""

    @property
    def sections(self) -> list[str]:
        return list(dict.fromkeys(key[1] for key in self.in_file if key[0] == "models"))

    def common(self) -> Layer:
        """All but the sections."""
        own = {k: at for k, at in self.in_file.items() if k[0] != "models" and len(k) > 1}
        return own | self.over

    def model(self, choice: _Choice) -> Layer:
        """The common layer with a model's own settings in the place of [model]."""
        own = {
            in_model(key): at
            for key, at in self.in_file.items()
            if key[:2] == ("models", choice.section) and len(key) > 2
        }
        over = dict(self.over)
        if choice.section is not None:
            over.pop(_SOURCE, None)
        if choice.source is not None:
            over[_SOURCE] = choice.source
        return self.common() | own | over


@dataclass(frozen=True, slots=True)
class _Choice:
    """A model to serve: a section, a source, or what [model] says."""

    section: str | None = None
    source: Setting | None = None


def _read(
    flags: Mapping[str, Any],
    config: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    faults: list[Fault],
) -> _Layers:
    file = find_file(config, environ, cwd)
    in_file = read_file(file, faults) if file else {}
    over = read_environment(environ, faults)
    for name, value in flags.items():
        key = tuple(name.split("."))
        over[key] = Setting(value, flag(key), key)
    return _Layers(file, in_file, over)


def _lay(
    layers: _Layers, models: tuple[str, ...], faults: list[Fault], name_of: Callable[[str], str]
) -> LoadedSettings | None:
    """One layer over the other; None where that cannot be."""
    common = _validate(layers.common(), faults)
    for section in layers.sections:
        # Sections that are not served are checked too: a fault there is better found today.
        _validate(layers.model(_Choice(section)), faults)
    served: dict[str, ModelSettings] = {}
    origins = {key: at.origin for key, at in layers.common().items()}
    chosen = _choose(layers, models)
    for choice in chosen:
        layer = layers.model(choice)
        valid = _validate(layer, faults)
        if valid is None:
            continue
        name = valid.model.alias or choice.section or name_of(valid.model.source)
        if name in served:
            faults.append(_same_name(layer, name, served[name].source, valid.model.source))
        served[name] = valid.model
        for key, at in layer.items():
            if key[0] == "model":
                origins["models", name, *key[1:]] = at.origin
    if common is None or not served or len(served) < len(chosen):
        return None
    settings = common.model_copy(update={"models": served})
    first = next(iter(served)) if len(served) == 1 or models else None
    preloaded = (n for n, m in served.items() if (n == first if m.preload is None else m.preload))
    return LoadedSettings(settings, layers.file, origins, tuple(preloaded), _never_read)


def _never_read() -> LoadedSettings:
    raise AssertionError("load sets how to read again")


def _choose(layers: _Layers, models: tuple[str, ...]) -> list[_Choice]:
    """The models to serve."""
    named = [Setting(name, flag(_SOURCE), _SOURCE) for name in models]
    if not named and _SOURCE in layers.over:
        named = [layers.over[_SOURCE]]
    if named:
        return [
            _Choice(section=at.value) if at.value in layers.sections else _Choice(source=at)
            for at in named
        ]
    return [_Choice(section=name) for name in layers.sections] or [_Choice()]


def _same_name(layer: Layer, name: str, first: str, second: str) -> Fault:
    at = layer.get(("model", "alias"), layer.get(_SOURCE))
    where = f"{at.origin}: " if at is not None else ""
    return Fault(
        f"{where}two models would be served as {name}: {first} and {second}. Give each an alias of "
        f"its own, in a [models.NAME] section.",
        at.line if at is not None else None,
    )


def _validate(layer: Layer, faults: list[Fault]) -> Settings | None:
    tree: dict[str, Any] = {}
    for key, at in layer.items():
        table = tree
        for part in key[:-1]:
            table = table.setdefault(part, {})
        table[key[-1]] = at.value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            fault = _explain(layer, details)
            if fault not in faults:
                faults.append(fault)
        return None


def _explain(layer: Layer, error: Mapping[str, Any]) -> Fault:
    path = tuple(str(part) for part in error["loc"])
    # Behind the key pydantic names the member of a union or the index in a list.
    key = next(path[:end] for end in range(len(path), 0, -1) if path[:end] in layer)
    at = layer[key]
    where = f"{at.origin}: {dotted(at.key)}"
    reason = error.get("ctx", {}).get("error")
    if isinstance(reason, Contradiction):
        return Fault(f"{where} {reason}.", at.line)
    takes = allowed(known_keys()[key])
    if is_secret(known_keys()[key]):
        return Fault(f"{where} cannot be what it is. Set it to {takes}.", at.line)
    return Fault(f"{where} cannot be {at.value!r}. Set it to {takes}.", at.line)
