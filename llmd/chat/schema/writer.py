"""From a node back to a JSON schema: one that llguidance enforces to the letter.

It has only `anyOf`, `enum`, `$ref` into `$defs` and the keywords of single types, and none of
what no document fits. Objects that list properties and say nothing of others have no others:
every document of such a schema fits the original, and models keep to the point.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from llmd.chat.schema.algebra import holds
from llmd.chat.schema.definitions import Definitions
from llmd.chat.schema.fault import FaultList, below
from llmd.chat.schema.node import (
    Anything,
    Array,
    Boolean,
    Node,
    Null,
    Number,
    Object,
    Reference,
    Shape,
    String,
    options_of,
)
from llmd.chat.schema.objects import ObjectLayout
from llmd.chat.schema.pattern import other_texts

Schema = dict[str, Any]

LARGEST_EXACT = 2**53
"""Up to here every whole number has a double of its own, which bounds and values go through."""

MAX_MULTIPLE = 10_000
"""llguidance keeps the remainder of the digits: 40 ms for a number of this size, and minutes for
one of a hundred times as much, which no limit of its own ends.
"""

MAX_ITEMS = 10_000
MAX_LENGTH = 1_000_000


class SchemaWriter:
    def __init__(self, definitions: Definitions, faults: FaultList) -> None:
        self._definitions = definitions
        self._faults = faults
        self._living = self._find_living(dict(definitions.items()))
        self._names: dict[str, str] = {}
        self._unwritten: list[str] = []

    def write(self, root: Node) -> Schema | None:
        """None where no document fits. What stands at the top is never a reference."""
        while isinstance(root, Reference):
            if root.name not in self._living:
                return None
            root = self._target(root)
        if not self.lives(root):
            return None
        schema = self.write_node(root)
        bodies: dict[str, Schema] = {}
        while self._unwritten:
            name = self._unwritten.pop()
            bodies[self._names[name]] = self.write_node(self._target(Reference(name)))
        return {**schema, "$defs": bodies} if bodies else schema

    def _target(self, reference: Reference) -> Node:
        node = self._definitions.node(reference.name)
        assert node is not None
        return node

    def _find_living(self, nodes: dict[str, Node]) -> set[str]:
        """The definitions that some document fits, as the least fixed point."""
        living: set[str] = set()
        num_before = -1
        while num_before < len(living):
            num_before = len(living)
            living |= {name for name, node in nodes.items() if self._lives(node, living)}
        return living

    def _lives(self, node: Node, living: set[str]) -> bool:
        """Whether some document fits, as far as the sizes tell; patterns are not looked into."""
        match node:
            case Anything() | Null() | Boolean():
                return True
            case Reference(name=name):
                return name in living
            case Number():
                return _has_numbers(node)
            case String():
                return node.values != () and (
                    node.max_length is None or node.min_length <= node.max_length
                )
            case Array():
                num_items = self._num_items(node, living)
                return num_items is None or num_items >= node.min_items
            case Object():
                return self._object_lives(node, living)
            case _:
                return any(self._lives(option, living) for option in options_of(node))

    def _num_items(self, array: Array, living: set[str]) -> int | None:
        """How many items there can be at most; None for any number."""
        most = array.max_items
        dead = (index for index, item in enumerate(array.prefix) if not self._lives(item, living))
        end = next(dead, None)
        if end is None and not self._lives(array.items, living):
            end = len(array.prefix)
        return most if end is None else end if most is None else min(end, most)

    def _object_lives(self, shape: Object, living: set[str]) -> bool:
        if not all(
            self._lives(shape.value(name), living) or shape.patterns for name in shape.required
        ):
            return False
        if shape.max_properties is not None and shape.max_properties < max(
            shape.min_properties, len(shape.required)
        ):
            return False
        is_open = bool(shape.patterns) or self._lives(shape.additional, living)
        num_declared = sum(self._lives(value, living) for _, value in shape.properties)
        return is_open or shape.min_properties <= num_declared

    def lives(self, node: Node) -> bool:
        """Whether some document fits."""
        return self._lives(node, self._living)

    def write_node(self, node: Node) -> Schema:
        """The schema of a node that lives."""
        match node:
            case Anything():
                return {}
            case Reference():
                return self._write_reference(node)
            case Null():
                return {"type": "null"}
            case Boolean(value=None):
                return {"type": "boolean"}
            case Boolean(value=value):
                return {"enum": [value]}
            case Number():
                return self._write_number(node)
            case String():
                return self._write_string(node)
            case Array():
                return self._write_array(node)
            case Object():
                return self._write_object(node)
            case _:
                living = tuple(option for option in node.options if self.lives(option))
                written = [self.write_node(option) for option in _meant(living)]
                return written[0] if len(written) == 1 else {"anyOf": written}

    def _write_reference(self, reference: Reference) -> Schema:
        if reference.name not in self._names:
            self._names[reference.name] = f"d{len(self._names)}"
            self._unwritten.append(reference.name)
        return {"$ref": f"#/$defs/{self._names[reference.name]}"}

    def _write_number(self, number: Number) -> Schema:
        if number.values is not None:
            self._check_exact(number.values, number.origin)
            return {"enum": [_plain(value) for value in number.values]}
        number = _whole(number) if number.is_integer else number
        schema: Schema = {"type": "integer" if number.is_integer else "number"}
        bounds = [
            ("exclusiveMinimum" if number.excludes_minimum else "minimum", number.minimum),
            ("exclusiveMaximum" if number.excludes_maximum else "maximum", number.maximum),
        ]
        for keyword, bound in bounds:
            if bound is not None:
                self._check_exact((bound,), below(number.origin, keyword))
                schema[keyword] = _plain(bound)
        multiple = number.multiple_of
        if multiple is not None and not (number.is_integer and multiple == 1):
            if multiple.numerator > MAX_MULTIPLE or 10**9 % multiple.denominator:
                where = below(number.origin, "multipleOf")
                self._faults.unsupported(where, f"is above {MAX_MULTIPLE}, or has many digits")
            else:
                schema["multipleOf"] = _plain(multiple)
        return schema

    def _check_exact(self, values: tuple[Fraction, ...], pointer: str) -> None:
        for value in values:
            too_large = abs(value) > LARGEST_EXACT and not _is_format_bound(value)
            if too_large or (value and abs(value) < Fraction(1, 10**15)):
                self._faults.unsupported(pointer, "is beyond what doubles hold exactly")

    def _write_string(self, text: String) -> Schema:
        schema: Schema = {"type": "string"}
        if text.values is not None:
            schema["enum"] = list(text.values)
        else:
            for keyword, length in (("minLength", text.min_length), ("maxLength", text.max_length)):
                if length is not None and length > MAX_LENGTH:
                    where = below(text.origin, keyword)
                    self._faults.unsupported(where, f"is above {MAX_LENGTH}")
                elif length:
                    schema[keyword] = length
            if text.max_length == 0:
                schema["maxLength"] = 0
        patterns = list(text.patterns)
        if text.excluded and text.values is None:
            patterns.append(other_texts(text.excluded))
        if len(patterns) == 1:
            schema["pattern"] = patterns[0]
        elif patterns:
            schema["allOf"] = [{"type": "string", "pattern": pattern} for pattern in patterns]
        return schema

    def _write_array(self, array: Array) -> Schema:
        most = self._num_items(array, self._living)
        prefix = array.prefix if most is None else array.prefix[:most]
        schema: Schema = {"type": "array"}
        if prefix:
            schema["prefixItems"] = [self.write_node(item) for item in prefix]
        closes = bool(prefix) and not array.says_items and array.min_items <= len(prefix)
        if most is not None and most <= len(prefix) or closes:
            schema["items"] = False
            most = None if most is None or most >= len(prefix) else most
        else:
            schema["items"] = self.write_node(array.items)
        for keyword, count in (("minItems", array.min_items), ("maxItems", most)):
            if count is not None and count > MAX_ITEMS:
                self._faults.unsupported(below(array.origin, keyword), f"is above {MAX_ITEMS}")
            elif count or (count == 0 and keyword == "maxItems"):
                schema[keyword] = count
        return schema

    def _write_object(self, shape: Object) -> Schema:
        return ObjectLayout.of(shape, self.lives, self._faults).schema(self.write_node)


def _meant(options: tuple[Shape | Reference, ...]) -> tuple[Shape | Reference, ...]:
    """Without those that are there only because no type was given."""
    explicit = tuple(o for o in options if isinstance(o, Reference) or not o.is_implied)
    return explicit or options


def _has_numbers(number: Number) -> bool:
    if number.values is not None:
        return any(holds(number, value) for value in number.values)
    if number.minimum is None or number.maximum is None:
        return True
    step = number.multiple_of
    if number.is_integer:
        step = Fraction(1) if step is None else Fraction(step.numerator)
    if step is None:
        exact = not (number.excludes_minimum or number.excludes_maximum)
        return number.minimum < number.maximum or (number.minimum == number.maximum and exact)
    first = -(-number.minimum // step) * step
    if first == number.minimum and number.excludes_minimum:
        first += step
    return holds(number, first)


def _whole(number: Number) -> Number:
    """The same integers, with whole bounds that are included and a whole step."""
    low, high = number.minimum, number.maximum
    if low is not None:
        low = Fraction(low // 1 + 1 if number.excludes_minimum else -(-low // 1))
    if high is not None:
        high = Fraction(-(-high // 1) - 1 if number.excludes_maximum else high // 1)
    step = number.multiple_of
    return replace(
        number,
        minimum=low,
        maximum=high,
        excludes_minimum=False,
        excludes_maximum=False,
        multiple_of=None if step is None else Fraction(step.numerator),
    )


def _is_format_bound(value: Fraction) -> bool:
    return abs(value) == 2**63 - 1024


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)
