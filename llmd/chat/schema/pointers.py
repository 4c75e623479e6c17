"""Where `$ref` leads inside one schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from llmd.chat.schema.fault import below

# Keywords that hold schemas by name, and those that hold one or a list of them.
_MAPS = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
_HOLDERS = (
    "items prefixItems allOf anyOf oneOf not if then else additionalProperties additionalItems "
    "propertyNames contains unevaluatedProperties unevaluatedItems".split()
)


class SchemaPointers:
    """The parts of one schema document by their addresses."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        address = root.get("$id")
        self._address = address.rstrip("#") if isinstance(address, str) else ""
        self._anchors: dict[str, str] | None = None

    def find(self, reference: str) -> tuple[str, Any] | None:
        """The pointer and the part that a `$ref` means; None where it is not in this document."""
        address, _, fragment = reference.partition("#")
        if address not in ("", self._address):
            return None
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            if self._anchors is None:
                self._anchors = dict(_anchors(self._root, "#"))
            anchored = self._anchors.get(fragment)
            if anchored is None:
                return None
            fragment = anchored[1:]
        pointer, part = "#", self._root
        for step in fragment.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            pointer = below(pointer, step)
            if isinstance(part, dict) and step in part:
                part = part[step]
            elif isinstance(part, list) and step.isdecimal() and int(step) < len(part):
                part = part[int(step)]
            else:
                return None
        return pointer, part


def _anchors(schema: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Each anchor with the pointer to its schema."""
    if not isinstance(schema, dict):
        return
    for keyword in ("$anchor", "$dynamicAnchor"):
        if isinstance(schema.get(keyword), str):
            yield schema[keyword], pointer
    for keyword, held in schema.items():
        where = below(pointer, keyword)
        parts: Iterable[tuple[str | int, Any]] = ()
        if keyword in _MAPS and isinstance(held, dict):
            parts = held.items()
        elif keyword in _HOLDERS:
            if isinstance(held, list):
                parts = enumerate(held)
            else:
                yield from _anchors(held, where)
        for step, part in parts:
            yield from _anchors(part, below(where, step))
