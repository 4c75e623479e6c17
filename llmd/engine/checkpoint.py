"""Prefixes of memory that cannot be cut: states parked at positions from which they can go on."""

from __future__ import annotations

from collections.abc import Sequence as Several

from llmd.engine.live_cells import LiveCells
from llmd.engine.parking import NOTHING, Parking
from llmd.engine.radix import Node, Tokens, common_length
from llmd.engine.runner import Runner
from llmd.engine.sequence import Sequence

MAX_CHECKPOINTS = 8
"""On the way down one conversation, besides those within its system prompt. The newest stay: the
next turn, or an edit of the last ones, goes on from them."""


class Checkpoints:
    """Recurrent state, and the window of a sliding-window cache, exist for the last position of a
    sequence only. A checkpoint is a copy of them; the cells of the other layers, where there are
    any, are parked span by span. Engine thread only.
    """

    def __init__(self, memory: Runner, parking: Parking, live: LiveCells) -> None:
        self._memory = memory
        self._parking = parking
        self._live = live

    def claim(self, sequence: Sequence, nodes: Several[Node]) -> bool:
        """Give an empty sequence the state at the end of the last node. False where that fails:
        then it may hold anything, and must be emptied.
        """
        assert sequence.sequence_id is not None
        last = self._parking.fetch(nodes[-1])
        if last is None:
            return False
        checkpoint = last[1]
        if self._memory.memory.has_cells:
            for node in nodes:
                parts = self._parking.fetch(node)
                if parts is None:
                    return False
                if not self._live.load(sequence, node.end, parts[0], checkpoint):
                    self._parking.forget(node)
                    return False
        if not self._memory.restore_checkpoint(sequence.sequence_id, checkpoint):
            self._parking.forget(nodes[-1])
            return False
        return True

    def take(self, sequence: Sequence, root: Node, now: int) -> Node:
        """Park the state of a sequence where it stands; returns the node that ends there, or the
        last one before it where there is no room.
        """
        assert sequence.sequence_id is not None
        tokens = sequence.token_array()[: sequence.num_computed]
        node = self._last_parked(root, tokens)
        if node.end < len(tokens):
            span = NOTHING
            if self._memory.memory.has_cells:
                span = self._live.save(sequence, node.end)
            child = _child(node, tokens[node.end :])
        elif self._parking.has_checkpoint(node):
            node.touch(now)
            return node
        else:
            parts = self._parking.fetch(node)
            if parts is None:
                return node
            span, child = parts[0], node
        child.touch(now)
        checkpoint = self._memory.save_checkpoint(sequence.sequence_id)
        if not self._parking.park(child, span, checkpoint):
            return node
        self._thin(child)
        return child

    def _last_parked(self, root: Node, tokens: Tokens) -> Node:
        """How far down parked nodes lead along the tokens, whole ones only."""
        node = root
        while node.end < len(tokens):
            rest = tokens[node.end :]
            fitting = [
                child
                for child in node.starting_with(int(rest[0]))
                if self._parking.has(child) and common_length(child.tokens, rest) == len(child)
            ]
            if not fitting:
                break
            node = max(fitting, key=len)
        return node

    def _thin(self, node: Node) -> None:
        """Drop the oldest checkpoints of a conversation, and keep its cells."""
        path = [n for n in node.path() if not n.is_anchor and self._parking.has_checkpoint(n)]
        for each in path[:-MAX_CHECKPOINTS]:
            self._parking.drop_checkpoint(each)


def _child(node: Node, tokens: Tokens) -> Node:
    """A child of just these tokens: one that is only remembered, or a new one."""
    for child in node.starting_with(int(tokens[0])):
        is_same = len(child) == len(tokens) == common_length(child.tokens, tokens)
        if is_same and child.parked is None:
            return child
    return node.add_child(tokens)
