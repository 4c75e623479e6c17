"""Prefixes whose cells are in the model's memory, shared between the sequences that begin so."""

from __future__ import annotations

from llmd.engine.radix import Node, Tokens
from llmd.engine.runner import Runner
from llmd.engine.sequence import Sequence
from llmd.llama.context import State


class LiveCells:
    """The live nodes of the trees, and the sequence ids that hold their cells. Engine thread only.

    A cell belongs to every id that was given it (llama.h llama_memory_seq_cp), and is free when no
    id has it any more. A live node is held by each running sequence that goes through it. One that
    nothing runs through is idle, and is held by a keeper: the id of a sequence that has ended.
    Keepers are only where a way down through live nodes ends, and nobody runs on from there.
    """

    def __init__(self, memory: Runner, *, num_ids: int) -> None:
        """Ids from 0 to `num_ids` - 1 are for sequences and keepers; the next one is for copies."""
        self.num_used = 0
        """Cells of all live nodes."""
        self.num_idle = 0
        """Those of them through which nothing runs."""
        self._memory = memory
        self._keepers: dict[int, Node] = {}
        # A stack with the lowest id on top, so that a quiet daemon stays in the front of the cache.
        self._free_ids = list(range(num_ids - 1, -1, -1))
        self._scratch = num_ids

    @property
    def has_free_id(self) -> bool:
        return bool(self._free_ids)

    def take_id(self) -> int:
        return self._free_ids.pop()

    def _give_id(self, sequence_id: int) -> None:
        """Empty an id and let others have it."""
        self._memory.truncate(sequence_id, 0)
        self._free_ids.append(sequence_id)
        self._free_ids.sort(reverse=True)

    def enter(self, node: Node, sequence: Sequence) -> None:
        """A sequence that has nothing yet takes the path down to a live node, or to a root."""
        if not node.is_root:
            self._memory.share(self._holder(node), _id(sequence), 0, node.end)
        for each in node.path():
            self._use(each)
        self._hold(sequence, node)

    def leave(self, sequence: Sequence) -> None:
        """A sequence ends: its id becomes the keeper of what it holds where nobody else holds
        that, and is free otherwise.
        """
        node, sequence_id = sequence.node, _id(sequence)
        node.holders.discard(sequence_id)
        for each in node.path():
            each.num_users -= 1
            if not each.num_users:
                self.num_idle += len(each)
        if node.is_root or _any_holder(node) is not None:
            self._give_id(sequence_id)
        else:
            self._memory.truncate(sequence_id, node.end)
            self._keep(node, sequence_id)

    def append(self, sequence: Sequence, tokens: Tokens) -> None:
        """Tokens that a sequence has computed beyond its node, and nobody else has, become live."""
        node = sequence.node
        if _is_own_end(node, _id(sequence)):
            node.extend(tokens)
            self.num_used += len(tokens)
        else:
            self.adopt(sequence, node.add_child(tokens))

    def adopt(self, sequence: Sequence, child: Node) -> None:
        """The cells that a sequence has beyond its node are those of a child that was not live."""
        child.is_live = True
        self.num_used += len(child)
        self.num_idle += len(child)  # until it is used, which is at once
        self._advance(sequence, child)

    def join(self, sequence: Sequence, child: Node) -> None:
        """A sequence has computed what a child has live already: it takes the child's cells in
        place of its own.
        """
        memory, scratch, sequence_id = self._memory, self._scratch, _id(sequence)
        memory.share(sequence_id, scratch, child.end, sequence.num_computed)
        memory.truncate(sequence_id, child.start)
        memory.share(self._holder(child), sequence_id, child.start, child.end)
        memory.share(scratch, sequence_id, child.end, sequence.num_computed)
        memory.truncate(scratch, 0)
        self._advance(sequence, child)

    def copy(self, node: Node) -> State:
        """The state of a live node's own span."""
        return self._save(self._holder(node), node.start, node.end)

    def save(self, sequence: Sequence, start: int) -> State:
        """The state of what a sequence has computed from `start` on."""
        return self._save(_id(sequence), start, sequence.num_computed)

    def load(self, sequence: Sequence, end: int, span: State, checkpoint: State) -> bool:
        """Append the cells of a saved span, which ends at `end`, to those of a sequence; False
        where they do not fit, and nothing is changed.
        """
        if not self._memory.restore_span(self._scratch, span, checkpoint):
            return False
        self._memory.share(self._scratch, _id(sequence), 0, end)
        self._memory.truncate(self._scratch, 0)
        return True

    def drop(self, node: Node) -> None:
        """Give up the cells of an idle node below which nothing is live."""
        assert node.is_live and not node.num_users and not _has_live_child(node)
        (keeper,) = node.holders
        node.holders.clear()
        del self._keepers[keeper]
        node.is_live = False
        self.num_used -= len(node)
        self.num_idle -= len(node)
        parent = node.parent
        assert parent is not None
        if parent.is_root or _any_holder(parent) is not None:
            self._give_id(keeper)
        else:
            self._memory.truncate(keeper, parent.end)
            self._keep(parent, keeper)

    def idle_ends(self) -> list[Node]:
        """Idle nodes that may be dropped now, least recently used first."""
        ends = [node for node in self._keepers.values() if not _has_live_child(node)]
        return sorted(ends, key=lambda node: node.used_at)

    def _save(self, sequence_id: int, start: int, end: int) -> State:
        self._memory.share(sequence_id, self._scratch, start, end)
        try:
            return self._memory.save_span(self._scratch)
        finally:
            self._memory.truncate(self._scratch, 0)

    def _advance(self, sequence: Sequence, child: Node) -> None:
        sequence.node.holders.discard(_id(sequence))
        self._use(child)
        self._hold(sequence, child)

    def _use(self, node: Node) -> None:
        if not node.num_users:
            self.num_idle -= len(node)
        node.num_users += 1

    def _hold(self, sequence: Sequence, node: Node) -> None:
        sequence.node = node
        node.holders.add(_id(sequence))
        for each in node.path():
            # Keepers at it or above it have become needless.
            for keeper in [holder for holder in each.holders if holder in self._keepers]:
                each.holders.discard(keeper)
                del self._keepers[keeper]
                self._give_id(keeper)

    def _keep(self, node: Node, sequence_id: int) -> None:
        node.holders.add(sequence_id)
        self._keepers[sequence_id] = node

    def _holder(self, node: Node) -> int:
        holder = _any_holder(node)
        assert holder is not None, "a live node that nobody holds"
        return holder


def _id(sequence: Sequence) -> int:
    assert sequence.sequence_id is not None
    return sequence.sequence_id


def _any_holder(node: Node) -> int | None:
    stack = [node]
    while stack:
        each = stack.pop()
        for holder in each.holders:
            return holder
        stack.extend(child for child in each.children() if child.is_live)
    return None


def _has_live_child(node: Node) -> bool:
    return any(child.is_live for child in node.children())


def _is_own_end(node: Node, sequence_id: int) -> bool:
    """Whether a sequence's new tokens may simply be appended to the node."""
    return (
        node.holders == {sequence_id}
        and node.num_users == 1
        and not node.num_children
        and node.parked is None
        and not node.is_anchor
        and node.generated_at is None
    )
