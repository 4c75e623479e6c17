"""Nodes by name: what `$ref` points at, and what intersections with those come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from llmd.chat.schema.node import Node, Reference, Shape, options_of

MAX_NODES = 60_000


class TooLarge(Exception):
    """The schema comes to more nodes than llmd works on."""


class Definitions:
    """Each is made when it is first asked for, so that references may run in circles."""

    def __init__(self) -> None:
        self._makers: dict[str, Callable[[], Node]] = {}
        self._nodes: dict[str, Node] = {}
        self._in_making: set[str] = set()
        self._num_nodes = 0

    def count(self) -> None:
        """Told of every node that is made. Raises TooLarge: alternatives multiply."""
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES:
            raise TooLarge

    def define(self, name: str, make: Callable[[], Node]) -> Reference:
        """`make` is called once. Of several for a name the first is taken."""
        self._makers.setdefault(name, make)
        return Reference(name)

    def node(self, name: str) -> Node | None:
        """None while it is being made: it depends on itself."""
        if name not in self._nodes:
            if name in self._in_making:
                return None
            self._in_making.add(name)
            self._nodes[name] = self._makers[name]()
        return self._nodes[name]

    def shapes(self, node: Node) -> tuple[Shape, ...] | None:
        """The alternatives of a node with the references followed; None where that never ends."""
        found: list[Shape] = []
        seen: set[str] = set()
        pending: list[Shape | Reference] = [*reversed(options_of(node))]
        while pending:
            option = pending.pop()
            if not isinstance(option, Reference):
                found.append(option)
                continue
            if option.name in seen:
                continue
            seen.add(option.name)
            target = self.node(option.name)
            if target is None:
                return None
            pending += reversed(options_of(target))
        return tuple(found)

    def items(self) -> Iterator[tuple[str, Node]]:
        """All of them; those are made that were not yet, and what making them brings with it."""
        done = 0
        while done < len(self._makers):
            names = list(self._makers)[done:]
            done += len(names)
            for name in names:
                node = self.node(name)
                assert node is not None
                yield name, node
