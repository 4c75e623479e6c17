"""Token prefixes as a radix tree. Pure data: it knows no model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


class Node:
    """The tokens [start, end) of every sequence that goes through it, below those of its parent.

    What is known of their computed state is written here by its owners: `is_live`,
    `holders` and `num_users` by LiveCells, `parked` by Parking.
    """

    __slots__ = (
        "_children",
        "generated_at",
        "holders",
        "is_anchor",
        "is_live",
        "num_users",
        "parent",
        "parked",
        "scope",
        "start",
        "tokens",
        "used_at",
    )

    def __init__(self, tokens: Tokens, start: int, parent: Node | None, scope: str) -> None:
        self.tokens = tokens
        self.start = start
        self.parent = parent
        self.scope = scope
        # By first token. Several may begin alike: see RadixTree.
        self._children: dict[int, list[Node]] = {}
        self.is_live = False
        """Its cells are in the model's memory."""
        self.holders: set[int] = set()
        """Sequence ids whose known tokens end with this node."""
        self.num_users = 0
        """Running sequences that go through it."""
        self.parked: object | None = None
        """Its state outside of the model's memory."""
        self.is_anchor = False
        """It lies within a system prompt, on which conversations stand."""
        self.generated_at: int | None = None
        """From this position on a model wrote the text, and no client."""
        self.used_at = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def is_root(self) -> bool:
        return self.parent is None

    def children(self) -> Iterator[Node]:
        for siblings in self._children.values():
            yield from siblings

    @property
    def num_children(self) -> int:
        return sum(map(len, self._children.values()))

    def starting_with(self, token: int) -> list[Node]:
        return self._children.get(token, [])

    def path(self) -> list[Node]:
        """From below the root down to this node."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None and not node.is_root:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def touch(self, now: int) -> None:
        """It was used, and all that it stands on with it."""
        for node in self.path():
            node.used_at = now

    def prefix(self) -> Tokens:
        """All tokens from the root to its end."""
        parts = [node.tokens for node in self.path()]
        return np.concatenate(parts) if parts else self.tokens

    def add_child(self, tokens: Tokens) -> Node:
        child = Node(tokens, self.end, self, self.scope)
        self._children.setdefault(int(tokens[0]), []).append(child)
        return child

    def remove_child(self, child: Node) -> None:
        first = int(child.tokens[0])
        siblings = self._children[first]
        siblings.remove(child)
        if not siblings:
            del self._children[first]

    def extend(self, tokens: Tokens) -> None:
        """Append tokens. Only for a node without children, as theirs would move."""
        assert not self._children and not self.is_root
        self.tokens = np.concatenate((self.tokens, tokens))

    def split(self, length: int) -> Node:
        """Make the first `length` tokens a node of their own, between this one and its parent;
        returns it. This node keeps what ends with it.
        """
        assert 0 < length < len(self.tokens) and self.parent is not None
        parent = self.parent
        parent.remove_child(self)
        upper = parent.add_child(self.tokens[:length])
        upper.is_live, upper.num_users = self.is_live, self.num_users
        upper.used_at = self.used_at
        upper.generated_at, upper.is_anchor = self.generated_at, self.is_anchor
        self.tokens = self.tokens[length:]
        self.start += length
        self.parent = upper
        upper._children[int(self.tokens[0])] = [self]
        return upper


class RadixTree:
    """The prefixes of one scope.

    Usually no two children of a node begin with the same token. They may where one of them cannot
    be split, because its state is stored in one piece: then a prefix has several paths.
    """

    def __init__(self, scope: str = "") -> None:
        self.root = Node(np.empty(0, np.int32), 0, None, scope)

    @property
    def is_unused(self) -> bool:
        """Whether it knows nothing, and nobody is about to add anything."""
        return not self.root.num_children and not self.root.holders

    def paths(self, tokens: Tokens) -> Iterator[list[tuple[Node, int]]]:
        """Every way down along `tokens`: nodes with how many of their tokens agree, which is all
        of them but for the last node. At least one path; it may be empty.
        """
        yield from _descend(self.root, tokens)

    def longest_path(self, tokens: Tokens) -> list[tuple[Node, int]]:
        """The way that agrees with the most tokens."""
        return max(self.paths(tokens), key=lambda path: sum(length for _, length in path))

    def nodes(self) -> Iterator[Node]:
        """All but the root, parents first."""
        stack = list(self.root.children())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children())


def common_length(first: Tokens, second: Tokens) -> int:
    """How many tokens two texts have in common from their beginning."""
    length = min(len(first), len(second))
    if length == 0:
        return 0
    differs = first[:length] != second[:length]
    position = int(differs.argmax())
    return position if differs[position] else length


def _descend(node: Node, tokens: Tokens) -> Iterator[list[tuple[Node, int]]]:
    # Not recursive along the usual single way down: a long conversation has many nodes.
    path: list[tuple[Node, int]] = []
    while True:
        rest = tokens[node.end :]
        ways = node.starting_with(int(rest[0])) if len(rest) else []
        if not ways:
            yield path
            return
        if len(ways) > 1:
            break
        node = ways[0]
        length = common_length(node.tokens, rest)
        path.append((node, length))
        if length < len(node):
            yield path
            return
    for way in ways:
        length = common_length(way.tokens, rest)
        if length < len(way):
            yield [*path, (way, length)]
        else:
            for tail in _descend(way, tokens):
                yield [*path, (way, length), *tail]
