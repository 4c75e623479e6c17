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
        ("server", "record"),
        ("server", "keys_file"),
        ("model", "chat_template"),
        ("model", "cache_dir"),
    }
)

API_KEY_VARIABLE = "LLMD_API_KEY"
"""The key that the daemon demands, and the one that the commands which talk to it bring."""

_API_KEY: Key = ("server", "api_key")

_WORDS: dict[Key, tuple[str, ...]] = {
    ("server", "state_dir"): ("auto", "none"),
    ("server", "keys_file"): ("none",),
}
"""What stands in place of a path, where a setting takes one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that somebody set under `key`. `origin` says where, for people: `llmd.toml line 3`;
    where that is in a file, `line` is its number there.
    """

    value: Any
    origin: str
    key: Key
    line: int | None = None


Layer = dict[Key, Setting]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a configuration; `message` says where, and ends with the cure. `line` is
    its place in the file, None where it is no fault of the file's.
    """

    message: str
    line: int | None = None


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


def read_toml(path: Path, faults: list[Fault]) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and its tables, none where a fault of syntax was added to `faults`.
    Raises ConfigError for a file that cannot be read.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        what = "the path" if isinstance(error, FileNotFoundError) else "its permissions"
        raise ConfigError(f"cannot read {path}: {error.strerror}. Check {what}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text. Save it as UTF-8.") from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        faults.append(_syntax_fault(path, text, error))
        return text, {}


def read_file(path: Path, faults: list[Fault]) -> Layer:
    """The settings of a file; relative paths in it are meant from its directory. A fault of syntax
    and unknown keys are added to `faults`. Raises ConfigError for a file that cannot be read.
    """
    text, tables = read_toml(path, faults)
    layer: Layer = {}
    for key, value in _leaves(tables):
        line = line_of(text, key)
        origin = f"{path} line {line}" if line else str(path)
        reason = _key_fault(key, value)
        if reason is not None:
            faults.append(Fault(f"{origin}: {reason}", line))
        elif value != {} or (key[0] == "models" and len(key) == 2):
            layer[key] = Setting(_from_directory(key, value, path.parent), origin, key, line)
    return layer


def read_environment(environ: Mapping[str, str], faults: list[Fault]) -> Layer:
    """The settings of LLMD_SECTION__KEY variables; an empty one counts as not set, and an unknown
    one is added to `faults`. Names without `__` are not settings, but for LLMD_API_KEY.
    """
    names = {environment_name(key): key for key in known_keys()}
    layer: Layer = {}
    if environ.get(API_KEY_VARIABLE):
        layer[_API_KEY] = Setting(environ[API_KEY_VARIABLE], API_KEY_VARIABLE, _API_KEY)
    for name, text in sorted(environ.items()):
        if not (name.startswith(ENVIRONMENT_PREFIX) and "__" in name and text):
            continue
        key = names.get(name)
        if key is None:
            cure = _cure(name, names)
            faults.append(Fault(f"unknown setting {name} in the environment. {cure}"))
            continue
        layer[key] = Setting(_parse(text), name, key)
    return layer


def _leaves(table: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Keys with values that are no tables, and the tables that are empty."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _syntax_fault(path: Path, text: str, error: tomllib.TOMLDecodeError) -> Fault:
    # The line stands in the message alone before Python 3.14.
    found = re.search(r"\(at line (\d+), column \d+\)|\(at end of document\)", str(error))
    line = None
    if found is not None:
        line = int(found[1]) if found[1] else max(1, len(text.splitlines()))
    return Fault(f"{path}: {error}. Correct the TOML there.", line)


def _key_fault(key: Key, value: Any) -> str | None:
    """What is wrong with a key as such."""
    known = known_keys()
    sections = {key[:length] for key in known for length in range(1, len(key))} | {("models",)}
    stand_in = in_model(key) if len(key) > 1 else key
    if stand_in in sections:
        if value != {}:
            return f"{dotted(key)} is a section. Write it as [{dotted(key)}]."
    elif stand_in not in known:
        names = [dotted((*key[:2], *name[1:]) if key[0] == "models" else name) for name in known]
        cure = _cure(dotted(key), [*names, *map(dotted, sections)])
        return f"unknown key {dotted(key)}. {cure}"
    return None


def _cure(name: str, known: Iterable[str]) -> str:
    section, last = _split(name)
    names = list(known)
    # A key in the wrong section is as common as a misspelt one.
    near = [other for other in names if _split(other)[1] == last]
    if not near:
        beside = {end: f"{start}{end}" for start, end in map(_split, names) if start == section}
        near = [beside[end] for end in get_close_matches(last, beside, n=1, cutoff=0.6)]
    if not near and section not in (_split(other)[0] for other in names):
        near = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else "Remove it; `llmd serve --help` lists the keys."


def _split(name: str) -> tuple[str, str]:
    """The section with what divides it, and the last part."""
    *before, last = re.split(r"(\.|__)", name)
    return "".join(before), last


def _from_directory(key: Key, value: Any, directory: Path) -> Any:
    stand_in = in_model(key)
    is_path_key = stand_in in _PATHS or (
        stand_in == ("model", "source") and isinstance(value, str) and is_path(value)
    )
    is_word = stand_in in _WORDS and value in _WORDS[stand_in]
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
