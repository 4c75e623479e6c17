"""How an object is written so that llguidance enforces every property of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from llmd.chat.schema.fault import FaultList, below
from llmd.chat.schema.node import ANYTHING, NEVER, Node, Object
from llmd.chat.schema.pattern import fixed_start, other_texts

MAX_OTHER_NAMES = 4_000
"""Characters of declared names that further names must differ from."""

MAX_OTHER_NAME = 40
"""Characters of one such name: each is a group in the others."""


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """Properties in their order; `patterns` for further names, `additional` for all names where
    none are declared.
    """

    properties: tuple[tuple[str, Node], ...]
    required: tuple[str, ...]
    patterns: tuple[tuple[str, Node], ...]
    additional: Node
    min_properties: int
    max_properties: int | None

    @classmethod
    def of(cls, shape: Object, lives: Callable[[Node], bool], faults: FaultList) -> ObjectLayout:
        """The layout of an object that some document fits."""
        held = shape.patterns if _are_held(shape, lives, faults) else ()
        names = dict(shape.properties)
        if not (held and shape.says_additional):
            names |= {n: shape.value(n) for n in shape.required if n not in names}
        declared = {name: value for name, value in names.items() if lives(value)}
        patterns = tuple((pattern, value) for pattern, value in held if lives(value))
        additional: Node = NEVER
        if not held and lives(shape.additional):
            speaks = shape.says_additional or not (shape.declares or names)
            if speaks or shape.min_properties > len(declared):
                additional = shape.additional
                # Names that no document has are taken all the same.
                if names and _may_be_excluded(shape, list(names), faults):
                    patterns, additional = ((other_texts(names), additional),), NEVER
        layout = cls(
            properties=tuple(declared.items()),
            required=shape.required,
            patterns=patterns,
            additional=additional,
            min_properties=shape.min_properties,
            max_properties=shape.max_properties,
        )
        return layout._counted(shape, faults)

    @property
    def _is_open(self) -> bool:
        return bool(self.patterns) or self.additional != NEVER

    def _counted(self, shape: Object, faults: FaultList) -> ObjectLayout:
        """With the limits on the number of properties in a form that llguidance takes: on what
        is behind the declared properties, or for one optional property more or less.
        """
        required = set(self.required)
        optional = [name for name, _ in self.properties if name not in required]
        low = max(0, self.min_properties - len(required))
        high = None if self.max_properties is None else self.max_properties - len(required)
        properties = self.properties
        if not self._is_open:
            if low == len(optional):
                required, low, optional = required | set(optional), 0, []
            if high == 0:
                properties = tuple(item for item in properties if item[0] in required)
            if high is not None and (high == 0 or high >= len(optional)):
                high = None
            can = low <= 1 and high in (None, 1)
        else:
            # A further name may come twice, and then counts once.
            can = low <= 1 and (not optional or (low == 0 and high is None))
        if not can:
            keyword = "minProperties" if low > 0 else "maxProperties"
            faults.unsupported(
                below(shape.origin, keyword), "counts properties beyond what llmd can follow"
            )
            low, high = 0, None
        return ObjectLayout(
            properties=properties,
            required=tuple(n for n, _ in properties if n in required)
            + tuple(n for n in self.required if n not in dict(properties)),
            patterns=self.patterns,
            additional=self.additional,
            min_properties=low and low + len(required),
            max_properties=None if high is None else high + len(required),
        )

    def schema(self, write: Callable[[Node], dict[str, Any]]) -> dict[str, Any]:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: write(value) for name, value in self.properties},
            "required": list(self.required),
        }
        if self.patterns:
            schema["patternProperties"] = {p: write(value) for p, value in self.patterns}
        closed = self.additional == NEVER
        schema["additionalProperties"] = False if closed else write(self.additional)
        if self.min_properties:
            schema["minProperties"] = self.min_properties
        if self.max_properties is not None:
            schema["maxProperties"] = self.max_properties
        return schema


def _are_held(shape: Object, lives: Callable[[Node], bool], faults: FaultList) -> bool:
    """Whether the patterns of names are enforced; if not, that is a fault."""
    where = below(shape.origin, "patternProperties")
    if shape.patterns and shape.says_additional and lives(shape.additional):
        if shape.additional != ANYTHING or not any(lives(value) for _, value in shape.patterns):
            faults.unsupported(where, "stands beside a schema for all other properties")
            return False
    for (one, _), (other, _) in combinations(shape.patterns, 2):
        starts = fixed_start(one), fixed_start(other)
        if not all(starts) or starts[0].startswith(starts[1]) or starts[1].startswith(starts[0]):
            faults.unsupported(where, "has patterns that one name may match together")
            return False
    return True


def _may_be_excluded(shape: Object, names: list[str], faults: FaultList) -> bool:
    if sum(map(len, names)) > MAX_OTHER_NAMES or max(map(len, names)) > MAX_OTHER_NAME:
        faults.unsupported(
            below(shape.origin, "additionalProperties"),
            "needs further names to be told from longer ones than llmd can",
        )
        return False
    return True
