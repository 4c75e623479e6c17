"""Computed prefixes outside of the model's memory: in host RAM, then on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmd.engine.disk_tier import DiskTier, StoredPrefix
from llmd.engine.radix import Node, RadixTree
from llmd.engine.rate import Rate
from llmd.llama.context import State

ANCHOR_SHARE = 0.5
"""Of the RAM, what system prompts may take before they are dropped like everything else."""

FASTEST_DISK = 1e10
"""Bytes per second: what is faster was still in memory, on its way to the disk."""

NOTHING: State = np.empty(0, np.uint8)


@dataclass(slots=True)
class ParkedState:
    """A node's state. In RAM `span` and `checkpoint` are set, where the memory has such parts; on
    disk both are None.
    """

    span: State | None = None
    checkpoint: State | None = None
    stored: StoredPrefix | None = None

    @property
    def num_bytes(self) -> int:
        """In RAM."""
        return sum(len(part) for part in (self.span, self.checkpoint) if part is not None)


class Parking:
    """The states of nodes, within `capacity` bytes of RAM. Engine thread only.

    What is least recently used goes first, to the disk where there is one. A node is never used
    later than its parent, so ends go before what they stand on; system prompts stay longest.
    """

    def __init__(
        self, capacity: int, disk: DiskTier | None = None, *, clock: Callable[[], float]
    ) -> None:
        """`clock` gives seconds."""
        self.capacity = capacity
        self.num_bytes = 0
        self.num_evicted = 0
        """Tokens whose states left the RAM for lack of room."""
        self._disk = disk
        self._clock = clock
        self._in_ram: set[Node] = set()
        self._disk_rate = Rate()

    @property
    def is_lasting(self) -> bool:
        """Whether what is parked outlives the daemon."""
        return self._disk is not None

    @property
    def is_open(self) -> bool:
        """Whether anything can be parked at all."""
        return self.capacity > 0 or self._disk is not None

    def has(self, node: Node) -> bool:
        return node.parked is not None

    def has_checkpoint(self, node: Node) -> bool:
        state = _state(node)
        if state is None:
            return False
        if state.stored is not None:
            return state.stored.has_checkpoint
        return state.checkpoint is not None

    def is_stored(self, node: Node) -> bool:
        """Whether a node's state is on disk."""
        state = _state(node)
        return state is not None and state.stored is not None

    def drop_checkpoint(self, node: Node) -> None:
        """Keep the cells of a node alone, where its state is in RAM."""
        state = _state(node)
        if state is not None and state.checkpoint is not None:
            self.num_bytes -= len(state.checkpoint)
            state.checkpoint = None

    def num_bytes_of(self, node: Node) -> int:
        """Bytes that bringing this node back has to copy."""
        state = _state(node)
        if state is None:
            return 0
        return state.num_bytes if state.stored is None else state.stored.num_bytes

    def reading_seconds(self, node: Node) -> float:
        """What reading this node from the disk is likely to take; 0 for RAM, and where nothing was
        read yet.
        """
        state = _state(node)
        if state is None or state.stored is None:
            return 0.0
        return self._disk_rate.seconds(state.stored.num_bytes)

    def park(self, node: Node, span: State, checkpoint: State | None = None) -> bool:
        """Keep a node's state; False where there is no room for it."""
        self.forget(node)
        state = ParkedState(span, checkpoint)
        if state.num_bytes > self.capacity:
            return self._store(node, state, wait=False)
        node.parked = state
        self._in_ram.add(node)
        self.num_bytes += state.num_bytes
        self._make_room()
        return True

    def fetch(self, node: Node) -> tuple[State, State] | None:
        """A node's span and checkpoint (empty where it has none); None where it is not parked any
        more, or where its file turns out to be gone or damaged.
        """
        state = _state(node)
        if state is None:
            return None
        if state.span is not None:
            return state.span, NOTHING if state.checkpoint is None else state.checkpoint
        assert state.stored is not None and self._disk is not None
        started = self._clock()
        parts = self._disk.load(state.stored)
        seconds = self._clock() - started
        if state.stored.num_bytes < seconds * FASTEST_DISK:
            self._disk_rate.observe(state.stored.num_bytes, seconds)
        if parts is None:
            node.parked = None
            return None
        span, checkpoint = parts
        return span, NOTHING if checkpoint is None else checkpoint

    def touch(self, nodes: Sequence[Node]) -> None:
        """The files of a path were used; on disk too, what it stands on must go last."""
        for node in reversed(nodes):
            state = _state(node)
            if state is not None and state.stored is not None and self._disk is not None:
                self._disk.touch(state.stored)

    def forget(self, node: Node) -> None:
        """Drop a node's state, wherever it is."""
        state = _state(node)
        if state is None:
            return
        if node in self._in_ram:
            self._in_ram.remove(node)
            self.num_bytes -= state.num_bytes
        if state.stored is not None and self._disk is not None:
            self._disk.remove(state.stored)
        node.parked = None

    def load_index(self, trees: dict[str, RadixTree]) -> None:
        """Enter what is on disk into the trees."""
        if self._disk is None:
            return
        for stored in sorted(self._disk.scan(), key=lambda each: each.start):
            tree = trees.setdefault(stored.scope, RadixTree(stored.scope))
            node = _place(tree, stored)
            if node is not None:
                node.parked = ParkedState(stored=stored)

    def close(self) -> None:
        """Write all that is in RAM to the disk, if there is one, and wait for it."""
        if self._disk is None:
            return
        # The newest last: should the disk be too small, the oldest files go.
        for node in sorted(self._in_ram, key=_worth):
            state = _state(node)
            assert state is not None
            self._store(node, state, wait=True)
        self._disk.close()

    def _make_room(self) -> None:
        if self.num_bytes <= self.capacity:
            return
        anchors = sum(_size(node) for node in self._in_ram if node.is_anchor)
        spares_anchors = anchors <= self.capacity * ANCHOR_SHARE
        order = sorted(
            self._in_ram,
            key=lambda node: (spares_anchors and node.is_anchor, *_worth(node)),
        )
        for node in order:
            if self.num_bytes <= self.capacity:
                return
            self._evict(node)

    def _evict(self, node: Node) -> None:
        state = _state(node)
        assert state is not None
        self._in_ram.remove(node)
        self.num_bytes -= state.num_bytes
        self.num_evicted += len(node)
        node.parked = None
        self._store(node, state, wait=False)

    def _store(self, node: Node, state: ParkedState, *, wait: bool) -> bool:
        if self._disk is None or state.span is None:
            return False
        stored = self._disk.save(
            node.scope, node.prefix(), node.start, state.span, state.checkpoint, wait=wait
        )
        if stored is None:
            return False
        node.parked = ParkedState(stored=stored)
        return True


def _place(tree: RadixTree, stored: StoredPrefix) -> Node | None:
    """The node for a stored span, made if need be; None where it has no place."""
    path = tree.longest_path(stored.tokens)
    node, length = path[-1] if path else (tree.root, 0)
    if (node.start, node.end, length) == (stored.start, len(stored.tokens), len(node)):
        return None if node.parked is not None else node
    if not node.is_root and length < len(node):
        if node.parked is None:
            node = node.split(length)
        elif node.parent is not None:
            node = node.parent
    if node.end < stored.start:
        # Its beginning is not on disk any more: it can be of use when that is computed again.
        node = node.add_child(stored.tokens[node.end : stored.start])
    if node.end > stored.start:
        return None
    return node.add_child(stored.tokens[stored.start :])


def _state(node: Node) -> ParkedState | None:
    state = node.parked
    assert state is None or isinstance(state, ParkedState)
    return state


def _size(node: Node) -> int:
    state = _state(node)
    return 0 if state is None else state.num_bytes


def _worth(node: Node) -> tuple[int, int]:
    return node.used_at, -node.start
