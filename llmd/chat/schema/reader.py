"""From a JSON schema to the node that it means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from llmd.chat.schema.algebra import Algebra
from llmd.chat.schema.assertions import ShapeReader
from llmd.chat.schema.definitions import Definitions
from llmd.chat.schema.fault import FaultList, below
from llmd.chat.schema.keywords import KEYWORDS_OF, TYPES, known_keywords
from llmd.chat.schema.node import (
    ANYTHING,
    EVERY_SHAPE,
    NEVER,
    Array,
    Boolean,
    Node,
    Null,
    Number,
    Object,
    String,
    join,
)
from llmd.chat.schema.pointers import SchemaPointers

MAX_DEPTH = 60
MAX_EXCLUSIVE = 8
"""Alternatives of a `oneOf` that overlap."""


class SchemaReader:
    """Reads one schema document. What cannot be enforced goes to `faults`."""

    def __init__(
        self,
        root: Mapping[str, Any],
        definitions: Definitions,
        algebra: Algebra,
        faults: FaultList,
    ) -> None:
        self._root = root
        self._definitions = definitions
        self._algebra = algebra
        self._faults = faults
        self._pointers = SchemaPointers(root)
        self._shapes = ShapeReader(self, definitions, faults)

    def read_root(self) -> Node:
        return self._definitions.define("#", lambda: self._read(self._root, "#", 0))

    def read(self, schema: Any, pointer: str, depth: int) -> Node:
        """The node of a schema that stands `depth` deep at `pointer`."""
        if depth > MAX_DEPTH:
            self._faults.unsupported(pointer, f"stands more than {MAX_DEPTH} schemas deep")
            return ANYTHING
        return self._read(schema, pointer, depth)

    def _read(self, schema: Any, pointer: str, depth: int) -> Node:
        self._definitions.count()
        if isinstance(schema, bool):
            return ANYTHING if schema else NEVER
        words = known_keywords(schema, pointer, self._faults)
        node = self._read_types(words, pointer, depth)
        for keyword in words:
            node = self._applied(node, words, keyword, pointer, depth + 1)
        if words.get("nullable") and node != ANYTHING:
            node = join([node, Null()])
        return node

    def _read_types(self, words: Mapping[str, Any], pointer: str, depth: int) -> Node:
        """What `type` and the keywords for single types say."""
        listed = words.get("type")
        types = list(TYPES) if listed is None else listed if isinstance(listed, list) else [listed]
        if "number" in types:
            types = [name for name in types if name != "integer"]
        of_format = self._shapes.type_of_format(words, types, pointer)
        speaking = {
            name
            for name, keywords in KEYWORDS_OF.items()
            if name == of_format or any(keyword in words for keyword in keywords)
        }
        if listed is None and not speaking:
            return ANYTHING
        return join(
            self._shapes.read(
                name, words, pointer, depth, is_implied=listed is None and name not in speaking
            )
            for name in dict.fromkeys(types)
        )

    def _applied(
        self, node: Node, words: Mapping[str, Any], keyword: str, pointer: str, depth: int
    ) -> Node:
        """`node` with what one more keyword asks."""
        value, where = words[keyword], below(pointer, keyword)
        match keyword:
            case "$ref":
                asked = self._reference(value, where, depth)
            case "const":
                asked = self._literal(value, where)
            case "enum":
                asked = _merged(self._literal(item, where) for item in value)
            case "allOf":
                for index, part in enumerate(value):
                    node = self._meet(node, self.read(part, below(where, index), depth))
                return node
            case "anyOf":
                asked = join(self._read_all(value, where, depth))
            case "oneOf":
                return self._exclusive(node, self._read_all(value, where, depth), where)
            case "not":
                outside = self._algebra.complement(self.read(value, where, depth))
                asked = ANYTHING if outside is None else outside
                if outside is None:
                    self._faults.unsupported(where, "is too general to be turned round")
            case "if":
                asked = self._conditional(words, pointer, depth)
            case "dependentRequired" | "dependentSchemas" | "dependencies":
                for name, part in value.items():
                    wanted = self._dependency(name, part, below(where, name), depth)
                    node = self._meet(node, wanted)
                return node
            case "$dynamicRef" | "$recursiveRef":
                self._faults.unsupported(where, "refers to what only the caller knows")
                asked = ANYTHING
            case _:
                asked = ANYTHING
        return self._meet(node, asked)

    def _meet(self, left: Node, right: Node) -> Node:
        return self._algebra.meet(left, right)

    def _read_all(self, schemas: list[Any], pointer: str, depth: int) -> list[Node]:
        return [
            self.read(schema, below(pointer, index), depth) for index, schema in enumerate(schemas)
        ]

    def _reference(self, reference: str, pointer: str, depth: int) -> Node:
        found = self._pointers.find(reference)
        if found is None:
            self._faults.unsupported(
                pointer, f"refers to {reference!r}, which is not in the schema"
            )
            return ANYTHING
        target, schema = found
        if not isinstance(schema, dict | bool):
            self._faults.invalid(pointer, f"refers to {reference!r}, which is no schema")
            return ANYTHING
        return self._definitions.define(target, lambda: self._read(schema, target, 0))

    def _literal(self, value: Any, pointer: str) -> Node:
        match value:
            case None:
                return Null()
            case bool():
                return Boolean(value)
            case int() | float():
                return Number(values=(Fraction(str(value)),), origin=pointer)
            case str():
                return String(values=(value,), origin=pointer)
            case list():
                items = tuple(self._literal(item, pointer) for item in value)
                return Array(
                    prefix=items,
                    items=NEVER,
                    says_items=True,
                    min_items=len(items),
                    max_items=len(items),
                )
            case _:
                return Object(
                    properties=tuple((n, self._literal(v, pointer)) for n, v in value.items()),
                    additional=NEVER,
                    says_additional=True,
                    declares=True,
                    required=tuple(value),
                    origin=pointer,
                )

    def _exclusive(self, node: Node, options: list[Node], pointer: str) -> Node:
        """Of exactly one of the options."""
        met = [self._meet(node, option) for option in options]
        if all(
            self._algebra.are_disjoint(one, other)
            for index, one in enumerate(met)
            for other in met[:index]
        ):
            return join(met)
        outsides = [self._algebra.complement(option) for option in options[:MAX_EXCLUSIVE]]
        if len(options) > MAX_EXCLUSIVE or None in outsides:
            self._faults.unsupported(pointer, "has alternatives that one document may fit together")
            return join(met)
        alone = []
        for index, option in enumerate(met):
            for other, outside in enumerate(outsides):
                if other != index and outside is not None:
                    option = self._meet(option, outside)
            alone.append(option)
        return join(alone)

    def _conditional(self, words: Mapping[str, Any], pointer: str, depth: int) -> Node:
        if "then" not in words and "else" not in words:
            return ANYTHING
        condition = self.read(words["if"], below(pointer, "if"), depth)
        outside = self._algebra.complement(condition)
        if outside is None:
            self._faults.unsupported(below(pointer, "if"), "is too general to be turned round")
            return ANYTHING
        return join(
            self._meet(part, self.read(words.get(keyword, True), below(pointer, keyword), depth))
            for part, keyword in ((condition, "then"), (outside, "else"))
        )

    def _dependency(self, name: str, part: Any, pointer: str, depth: int) -> Node:
        """Documents that are no objects, or lack `name`, or have what `part` asks."""
        if isinstance(part, list):
            wanted: Node = Object(required=(name, *(n for n in part if n != name)), origin=pointer)
        else:
            present = Object(required=(name,), origin=pointer)
            wanted = self._meet(present, self.read(part, pointer, depth))
        absent = Object(properties=((name, NEVER),), origin=pointer)
        others = (shape for shape in EVERY_SHAPE if not isinstance(shape, Object))
        return join([absent, wanted, *(replace(shape, is_implied=True) for shape in others)])


def _merged(literals: Iterable[Node]) -> Node:
    """Any of the literals; the texts and the numbers in one shape each."""
    texts: dict[str, None] = {}
    numbers: dict[Fraction, None] = {}
    others: list[Node] = []
    origin = ""
    for literal in literals:
        match literal:
            case String(values=tuple() as values):
                texts |= dict.fromkeys(values)
                origin = literal.origin
            case Number(values=tuple() as amounts):
                numbers |= dict.fromkeys(amounts)
                origin = literal.origin
            case _:
                others.append(literal)
    if texts:
        others.append(String(values=tuple(texts), origin=origin))
    if numbers:
        others.append(Number(values=tuple(numbers), origin=origin))
    return join(others)
