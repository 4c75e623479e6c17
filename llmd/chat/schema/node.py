"""A JSON schema as a set of documents: a union of shapes, each of one type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Anything:
    """Every document."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What `Definitions` knows as `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Null:
    is_implied: bool = False


@dataclass(frozen=True, slots=True)
class Boolean:
    value: bool | None = None
    """None for both."""
    is_implied: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """Bounds as exact fractions. `values` None means all of them."""

    is_integer: bool = False
    minimum: Fraction | None = None
    maximum: Fraction | None = None
    excludes_minimum: bool = False
    excludes_maximum: bool = False
    multiple_of: Fraction | None = None
    values: tuple[Fraction, ...] | None = None
    origin: str = field(default="", compare=False)
    is_implied: bool = False


@dataclass(frozen=True, slots=True)
class String:
    """Lengths in characters. `patterns` are Rust regular expressions that all match."""

    min_length: int = 0
    max_length: int | None = None
    patterns: tuple[str, ...] = ()
    values: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    origin: str = field(default="", compare=False)
    is_implied: bool = False


@dataclass(frozen=True, slots=True)
class Array:
    """`items` holds for every item behind the `prefix`; `says_items` whether the schema has a
    word on those.
    """

    prefix: tuple[Node, ...] = ()
    items: Node = Anything()
    says_items: bool = False
    min_items: int = 0
    max_items: int | None = None
    origin: str = field(default="", compare=False)
    is_implied: bool = False


@dataclass(frozen=True, slots=True)
class Object:
    """`patterns` are regular expressions of names with what they ask of the values; `additional`
    is what is asked of all other names, and `says_additional` whether the schema has a word on
    those; `declares` whether it lists properties, be the list empty.
    """

    properties: tuple[tuple[str, Node], ...] = ()
    patterns: tuple[tuple[str, Node], ...] = ()
    additional: Node = Anything()
    says_additional: bool = False
    declares: bool = False
    required: tuple[str, ...] = ()
    min_properties: int = 0
    max_properties: int | None = None
    origin: str = field(default="", compare=False)
    is_implied: bool = False

    def value(self, name: str) -> Node:
        """What is asked of the value of `name`, the patterns left aside."""
        return dict(self.properties).get(name, self.additional)


# A shape is implied where it is in a union only because the schema says no type: `minLength` alone
# lets every number pass. A union with other shapes is written without these: nobody means them.
Shape = Null | Boolean | Number | String | Array | Object


@dataclass(frozen=True, slots=True)
class Union:
    """Any of the options; of none, nothing."""

    options: tuple[Shape | Reference, ...]


Node = Anything | Reference | Union | Shape

ANYTHING = Anything()
NEVER = Union(())
EVERY_SHAPE: tuple[Shape, ...] = (Null(), Boolean(), Number(), String(), Array(), Object())


def join(nodes: Iterable[Node]) -> Node:
    """The documents of any of `nodes`."""
    options: dict[Shape | Reference, None] = {}
    for node in nodes:
        if isinstance(node, Anything):
            return ANYTHING
        for option in options_of(node):
            options[option] = None
    return next(iter(options)) if len(options) == 1 else Union(tuple(options))


def options_of(node: Node) -> tuple[Shape | Reference, ...]:
    if isinstance(node, Anything):
        return EVERY_SHAPE
    return node.options if isinstance(node, Union) else (node,)
