"""Sets of documents: what two have in common, whether they have anything, and what is outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

from llmd.chat.schema.definitions import Definitions
from llmd.chat.schema.fault import FaultList, below
from llmd.chat.schema.node import (
    ANYTHING,
    EVERY_SHAPE,
    NEVER,
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
    Union,
    join,
    options_of,
)

_Limit = TypeVar("_Limit", int, Fraction)


class Algebra:
    def __init__(self, definitions: Definitions, faults: FaultList) -> None:
        self._definitions = definitions
        self._faults = faults
        self._meetings: dict[tuple[Node, Node], Reference] = {}

    def meet(self, left: Node, right: Node) -> Node:
        """The documents of both. Properties keep the order of `left`, then that of `right`."""
        self._definitions.count()
        if isinstance(left, Anything) or left == right:
            return right
        if isinstance(right, Anything):
            return left
        if isinstance(left, Reference) or isinstance(right, Reference):
            return self._meet_later(left, right)
        return join(
            self._meet_options(one, other)
            for one in options_of(left)
            for other in options_of(right)
        )

    def _meet_options(self, left: Shape | Reference, right: Shape | Reference) -> Node:
        if isinstance(left, Reference) or isinstance(right, Reference):
            return self.meet(left, right)
        if type(left) is not type(right):
            return NEVER
        self._definitions.count()
        met: Node = _MEETINGS[type(left)](self, left, right)
        if isinstance(met, Anything | Reference | Union):
            return met
        return replace(met, is_implied=left.is_implied and right.is_implied)

    def _meet_later(self, left: Node, right: Node) -> Reference:
        """A definition of its own: the references may lead back to here."""
        known = self._meetings.get((left, right))
        if known is None:
            known = self._definitions.define(
                f"meeting {len(self._meetings)}", lambda: self._meet_now(left, right)
            )
            self._meetings[left, right] = known
        return known

    def _meet_now(self, left: Node, right: Node) -> Node:
        nodes = [
            self._definitions.node(node.name) if isinstance(node, Reference) else node
            for node in (left, right)
        ]
        # What depends on itself alone has no documents.
        return NEVER if None in nodes else self.meet(*(node for node in nodes if node is not None))

    def are_disjoint(self, left: Node, right: Node, *, depth: int = 0) -> bool:
        """Whether surely no document is of both."""
        self._definitions.count()
        if depth > 8 or isinstance(left, Anything) or isinstance(right, Anything):
            return NEVER in (left, right)
        ones, others = self._definitions.shapes(left), self._definitions.shapes(right)
        if ones is None or others is None:
            return False
        return all(self._are_apart(one, other, depth) for one in ones for other in others)

    def _are_apart(self, left: Shape, right: Shape, depth: int) -> bool:
        match left, right:
            case (Null(), Null()):
                return False
            case (Boolean(), Boolean()) | (Number(), Number()) | (String(), String()):
                return self._meet_options(left, right) == NEVER
            case (Array(), Array()):
                if self._meet_sizes(left, right) is None:
                    return True
                shared = range(max(left.min_items, right.min_items))
                return any(
                    self.are_disjoint(_item(left, index), _item(right, index), depth=depth + 1)
                    for index in shared
                    if index < max(len(left.prefix), len(right.prefix)) + 1
                )
            case (Object(), Object()):
                # A document of both has what either requires, and it fits both.
                return any(
                    self.are_disjoint(_value(left, name), _value(right, name), depth=depth + 1)
                    for name in dict.fromkeys((*left.required, *right.required))
                )
            case _:
                return True

    @staticmethod
    def _meet_sizes(left: Array, right: Array) -> tuple[int, int | None] | None:
        low = max(left.min_items, right.min_items)
        high = _least(left.max_items, right.max_items)
        return None if high is not None and high < low else (low, high)

    def complement(self, node: Node) -> Node | None:
        """All documents that are not of `node`; None where llmd cannot say them."""
        if isinstance(node, Anything):
            return NEVER
        shapes = self._definitions.shapes(node)
        if shapes is None:
            return None
        outside: Node = ANYTHING
        for shape in shapes:
            own = self._complement_of(shape)
            if own is None:
                return None
            others = (
                replace(other, is_implied=True)
                for other in EVERY_SHAPE
                if type(other) is not type(shape)
            )
            outside = self.meet(outside, join((own, *others)))
        return outside

    def _complement_of(self, shape: Shape) -> Node | None:
        """The values of the shape's own type that are outside."""
        if replace(shape, is_implied=False) in EVERY_SHAPE:
            return NEVER
        match shape:
            case Boolean(value=bool() as value):
                return Boolean(not value)
            case String(values=tuple() as values, patterns=()):
                return String(excluded=values, origin=shape.origin)
            case String(values=None, patterns=(), excluded=(), min_length=low, max_length=high):
                shorter = [String(max_length=low - 1)] if low else []
                longer = [String(min_length=high + 1)] if high is not None else []
                return join([*shorter, *longer])
            case String(values=None, patterns=(), min_length=0, max_length=None):
                return String(values=shape.excluded)
            case Object(patterns=(), additional=Anything(), min_properties=0, max_properties=None):
                return self._complement_of_object(shape)
            case _:
                return None

    def _complement_of_object(self, shape: Object) -> Node | None:
        options: list[Node] = [
            Object(properties=((name, NEVER),), origin=shape.origin) for name in shape.required
        ]
        for name, value in shape.properties:
            outside = self.complement(value)
            if outside is None:
                return None
            options.append(
                Object(properties=((name, outside),), required=(name,), origin=shape.origin)
            )
        return join(options)

    def _meet_booleans(self, left: Boolean, right: Boolean) -> Node:
        if left.value is None or left.value == right.value:
            return right
        return left if right.value is None else NEVER

    def _meet_numbers(self, left: Number, right: Number) -> Node:
        low = max(filter(None, (_low(left), _low(right))), default=None)
        high = min(filter(None, (_high(left), _high(right))), default=None)
        multiples = [m for m in (left.multiple_of, right.multiple_of) if m is not None]
        met = Number(
            is_integer=left.is_integer or right.is_integer,
            minimum=low[0] if low else None,
            excludes_minimum=bool(low and low[1]),
            maximum=high[0] if high else None,
            excludes_maximum=bool(high and not high[1]),
            multiple_of=_common_multiple(multiples),
            origin=left.origin or right.origin,
        )
        if low and high and (low[0] > high[0] or (low[0] == high[0] and (low[1] or not high[1]))):
            return NEVER
        if left.values is None and right.values is None:
            return met
        values = _shared(left.values, right.values)
        values = tuple(value for value in values if holds(met, value))
        return Number(values=values, origin=met.origin) if values else NEVER

    def _meet_strings(self, left: String, right: String) -> Node:
        met = String(
            min_length=max(left.min_length, right.min_length),
            max_length=_least(left.max_length, right.max_length),
            patterns=tuple(dict.fromkeys(left.patterns + right.patterns)),
            excluded=tuple(dict.fromkeys(left.excluded + right.excluded)),
            origin=left.origin or right.origin,
        )
        if met.max_length is not None and met.max_length < met.min_length:
            return NEVER
        if left.values is None and right.values is None:
            return met
        values = tuple(
            value
            for value in _shared(left.values, right.values)
            if value not in met.excluded
            and met.min_length <= len(value)
            and (met.max_length is None or len(value) <= met.max_length)
        )
        return String(values=values, patterns=met.patterns, origin=met.origin) if values else NEVER

    def _meet_arrays(self, left: Array, right: Array) -> Node:
        sizes = self._meet_sizes(left, right)
        if sizes is None:
            return NEVER
        num_prefix = max(len(left.prefix), len(right.prefix))
        return Array(
            prefix=tuple(
                self.meet(_item(left, index), _item(right, index)) for index in range(num_prefix)
            ),
            items=self.meet(left.items, right.items),
            says_items=left.says_items or right.says_items,
            min_items=sizes[0],
            max_items=sizes[1],
            origin=left.origin or right.origin,
        )

    def _meet_objects(self, left: Object, right: Object) -> Node:
        origin = left.origin or right.origin
        if (left.patterns or right.patterns) and not (
            left.additional == right.additional == ANYTHING
        ):
            if (left.properties, left.patterns) != (right.properties, right.patterns):
                owner = left if left.patterns else right
                self._faults.unsupported(
                    below(owner.origin, "patternProperties"),
                    "is joined with a schema that limits further properties",
                )
        patterns = dict(left.patterns)
        for pattern, value in right.patterns:
            patterns[pattern] = self.meet(patterns.get(pattern, ANYTHING), value)
        names = dict.fromkeys(name for name, _ in (*left.properties, *right.properties))
        met = Object(
            properties=tuple((n, self.meet(left.value(n), right.value(n))) for n in names),
            patterns=tuple(patterns.items()),
            additional=self.meet(left.additional, right.additional),
            says_additional=left.says_additional or right.says_additional,
            declares=left.declares or right.declares,
            required=tuple(dict.fromkeys(left.required + right.required)),
            min_properties=max(left.min_properties, right.min_properties),
            max_properties=_least(left.max_properties, right.max_properties),
            origin=origin,
        )
        too_few = met.max_properties is not None and met.max_properties < max(
            met.min_properties, len(met.required)
        )
        return NEVER if too_few else met


_MEETINGS: dict[type[Any], Callable[[Algebra, Any, Any], Any]] = {
    Null: lambda algebra, left, right: left,
    Boolean: Algebra._meet_booleans,
    Number: Algebra._meet_numbers,
    String: Algebra._meet_strings,
    Array: Algebra._meet_arrays,
    Object: Algebra._meet_objects,
}


def holds(number: Number, value: Fraction) -> bool:
    """Whether a value is within the bounds and a multiple, the listed values left aside."""
    if number.is_integer and value.denominator != 1:
        return False
    if number.multiple_of is not None and (value / number.multiple_of).denominator != 1:
        return False
    low, high = _low(number), _high(number)
    return (low is None or (value, False) >= low) and (high is None or (value, True) <= high)


def _low(number: Number) -> tuple[Fraction, bool] | None:
    return None if number.minimum is None else (number.minimum, number.excludes_minimum)


def _high(number: Number) -> tuple[Fraction, bool] | None:
    """The second sorts an excluded bound before an included one."""
    return None if number.maximum is None else (number.maximum, not number.excludes_maximum)


def _least(left: _Limit | None, right: _Limit | None) -> _Limit | None:
    if left is None or right is None:
        return right if left is None else left
    return min(left, right)


def _common_multiple(values: list[Fraction]) -> Fraction | None:
    if len(values) < 2:
        return values[0] if values else None
    one, other = values
    return Fraction(
        math.lcm(one.numerator, other.numerator), math.gcd(one.denominator, other.denominator)
    )


_Value = TypeVar("_Value", str, Fraction)


def _shared(
    left: tuple[_Value, ...] | None, right: tuple[_Value, ...] | None
) -> tuple[_Value, ...]:
    if left is None or right is None:
        return (right if left is None else left) or ()
    return tuple(value for value in left if value in set(right))


def _item(array: Array, index: int) -> Node:
    return array.prefix[index] if index < len(array.prefix) else array.items


def _value(shape: Object, name: str) -> Node:
    return ANYTHING if shape.patterns else shape.value(name)
