"""The keys of the configuration and what may stand in them, read off the settings' own fields."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from llmd.config.byte_size import ByteSize
from llmd.config.duration import Duration
from llmd.config.settings import Settings

Key = tuple[str, ...]
"""A path into the configuration, such as ("server", "port") or ("models", "NAME", "alias")."""

ENVIRONMENT_PREFIX = "LLMD_"

_BARE = re.compile(r"[A-Za-z0-9_-]+")

_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    ByteSize: "a size such as 512MiB or 2GiB",
    Duration: "a duration such as 90s, 15m or 1h30m",
}


def known_keys() -> dict[Key, FieldInfo]:
    """Every key with its field, in the order of the file; [models.NAME] has the keys of [model]."""
    sections = ("server", "model")
    return {
        (section, *key): field
        for section in sections
        for key, field in _fields(Settings.model_fields[section].annotation)
    }


def in_model(key: Key) -> Key:
    """The key of [model] that stands for a key of [models.NAME]; any other key as it is."""
    return ("model", *key[2:]) if key[0] == "models" else key


def dotted(key: Key) -> str:
    """As TOML spells it: server.port, models."qwen2.5".alias."""
    return ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in key)


def environment_name(key: Key) -> str:
    return ENVIRONMENT_PREFIX + "__".join(key).upper()


def flag(key: Key) -> str:
    """The option of `llmd serve`, or MODEL for the argument."""
    return "MODEL" if key == ("model", "source") else "--" + key[-1].replace("_", "-")


def allowed(field: FieldInfo) -> str:
    """What a field takes, for people: `a whole number from 0 to 65535`."""
    return _allowed(field.annotation, field.metadata)


def is_secret(field: FieldInfo) -> bool:
    """Whether a field's values must not be shown."""
    return SecretStr in _types(field.annotation)


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for member in get_args(annotation):
        yield from _types(member)


def _fields(section: Any) -> Iterator[tuple[Key, FieldInfo]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for key, inner in _fields(field.annotation):
                yield (name, *key), inner
        else:
            yield (name,), field


def _allowed(annotation: Any, metadata: Sequence[Any]) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        *others, last = (str(value) for value in get_args(annotation))
        return f"{', '.join(others)} or {last}" if others else last
    if origin in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return " or ".join(_allowed(member, metadata) for member in members)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        return _allowed(inner, [m for item in extra for m in getattr(item, "metadata", [item])])
    if origin is tuple:
        return "a list of texts"
    return _KINDS[annotation] + _bounds(metadata)


def _bounds(metadata: Sequence[Any]) -> str:
    least, most, above = (
        next((getattr(item, name) for item in metadata if hasattr(item, name)), None)
        for name in ("ge", "le", "gt")
    )
    if above is not None:
        return f" above {above}"
    if least is not None and most is not None:
        return f" from {least} to {most}"
    return f" of at least {least}" if least is not None else ""
