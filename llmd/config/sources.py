"""Where values come from: the file and the environment, each read into keys."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llmd.config.keys import (
    ENVIRONMENT_PREFIX,
    Key,
    dotted,
    environment_name,
    in_model,
    known_keys,
)
from llmd.config.model_reference import is_path
from llmd.config.toml_lines import line_of
from llmd.errors import ConfigError

SYSTEM_FILE = Path("/etc/llmd/llmd.toml")

_PATHS: frozenset[Key] = frozenset(
    {
        ("server", "uds"),
        ("server", "state_dir"),
        ("model", "chat_template"),
        ("model", "cache_dir"),
    }
)

_WORDS = ("auto", "none")
"""What stands in place of a path, where a setting takes one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that somebody set. `origin` says where, for people: `llmd.toml line 3`."""

    value: Any
    origin: str


Layer = dict[Key, Setting]


def find_file(config: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The configuration file: `config`, else $LLMD_CONFIG, ./llmd.toml, the user's, the system's.
    Raises ConfigError where one that was named is not there.
    """
    for named, asked_by in ((config, "--config"), (environ.get("LLMD_CONFIG"), "LLMD_CONFIG")):
        if named:
            path = cwd / os.path.expanduser(named)
            if not os.path.isfile(path):
                raise ConfigError(f"there is no configuration file {path}. Check {asked_by}.")
            return path
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    candidates = (cwd / "llmd.toml", user / "llmd" / "llmd.toml", SYSTEM_FILE)
    # os.path, as Path.is_file raises for a directory that a service may not look into.
    return next((path for path in candidates if os.path.isfile(path)), None)


def read_file(path: Path) -> Layer:
    """The settings of a file; relative paths in it are meant from its directory.

    Raises ConfigError for a file that cannot be read, a fault of syntax and an unknown key.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}. Check its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text. Save it as UTF-8.") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}. Correct the TOML there.") from error
    layer: Layer = {}
    for key, value in _leaves(tables):
        line = line_of(text, key)
        origin = f"{path} line {line}" if line else str(path)
        _check_key(key, value, origin)
        if value != {} or (key[0] == "models" and len(key) == 2):
            layer[key] = Setting(_from_directory(key, value, path.parent), origin)
    return layer


def read_environment(environ: Mapping[str, str]) -> Layer:
    """The settings of LLMD_SECTION__KEY variables; an empty one counts as not set.

    Raises ConfigError for an unknown one. Names without `__` are not settings.
    """
    names = {environment_name(key): key for key in known_keys()}
    layer: Layer = {}
    for name, text in sorted(environ.items()):
        if not (name.startswith(ENVIRONMENT_PREFIX) and "__" in name and text):
            continue
        key = names.get(name)
        if key is None:
            raise ConfigError(f"unknown setting {name} in the environment. {_cure(name, names)}")
        layer[key] = Setting(_parse(text), name)
    return layer


def _leaves(table: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Keys with values that are no tables, and the tables that are empty."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _check_key(key: Key, value: Any, origin: str) -> None:
    known = known_keys()
    sections = {key[:length] for key in known for length in range(1, len(key))} | {("models",)}
    stand_in = in_model(key) if len(key) > 1 else key
    if stand_in in sections:
        if value != {}:
            raise ConfigError(f"{origin}: {dotted(key)} is a section. Write it as [{dotted(key)}].")
    elif stand_in not in known:
        names = [dotted((*key[:2], *name[1:]) if key[0] == "models" else name) for name in known]
        cure = _cure(dotted(key), [*names, *map(dotted, sections)])
        raise ConfigError(f"{origin}: unknown key {dotted(key)}. {cure}")


def _cure(name: str, known: Iterable[str]) -> str:
    last = re.split(r"\.|__", name)[-1]
    # A key in the wrong section is as common as a misspelt one.
    near = [other for other in known if re.split(r"\.|__", other)[-1] == last]
    near = near or get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else "Remove it; `llmd serve --help` lists the keys."


def _from_directory(key: Key, value: Any, directory: Path) -> Any:
    stand_in = in_model(key)
    is_path_key = stand_in in _PATHS or (
        stand_in == ("model", "source") and isinstance(value, str) and is_path(value)
    )
    is_word = stand_in == ("server", "state_dir") and value in _WORDS
    if is_path_key and isinstance(value, str) and not value.startswith("~") and not is_word:
        return str(directory / value)
    return value


def _parse(text: str) -> Any:
    # The environment knows only texts; lists come as JSON, all else pydantic reads from text.
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
