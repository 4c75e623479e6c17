"""configs/reference.toml as text: `python -m llmd.config.reference > configs/reference.toml`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from llmd.config.byte_size import ByteSize
from llmd.config.duration import Duration
from llmd.config.keys import allowed, dotted, environment_name, known_keys

_HEAD = """\
# Every setting of llmd with its default. A key that is commented out has none.
# llmd reads the first of: --config FILE, $LLMD_CONFIG, ./llmd.toml,
# $XDG_CONFIG_HOME/llmd/llmd.toml, /etc/llmd/llmd.toml.
# Flags win over the environment, which wins over this file. The variable of a key is
# LLMD_SECTION__KEY, such as {example}.
# [models.NAME] takes the keys of [model], and starts from what [model] sets.
"""


def reference_toml() -> str:
    """Every key: what it is, its default and its bounds. Loads as the defaults themselves."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD.format(example=environment_name(("server", "port")))
    section = None
    for key, field in known_keys().items():
        if key[:-1] != section:
            section = key[:-1]
            yield f"[{dotted(section)}]\n"
        yield f"# {field.description}\n# Takes {allowed(field)}.\n{_entry(key[-1], field)}\n"


def _entry(name: str, field: FieldInfo) -> str:
    if field.default is None:
        return f"# {name} ="
    return f"{name} = {_toml(field.default)}"


def _toml(value: Any) -> str:
    # What stands here (texts, numbers, booleans) is written alike in JSON and TOML.
    return json.dumps(str(value) if isinstance(value, ByteSize | Duration) else value)


if __name__ == "__main__":
    sys.stdout.write(reference_toml())
