"""The prefix cache: what was computed once is not computed again.

Where a prefix of any length can be taken from the memory ("cutting" kinds: full attention), running
and idle sequences share cells (live_cells.py), and what is idle for long is parked (parking.py).
Other kinds (recurrent state, a window of cells) can only go on where a checkpoint was taken: there
every sequence has its cells for itself, and its state is parked at the ends of messages and where
it ends itself.

A prefix is reused within its scope only, and only as far as it equals the prompt token by token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmd.engine.cache_hits import CacheHits
from llmd.engine.checkpoint import Checkpoints
from llmd.engine.live_cells import LiveCells
from llmd.engine.parking import Parking
from llmd.engine.radix import Node, RadixTree, Tokens, common_length
from llmd.engine.rate import Rate
from llmd.engine.runner import Runner
from llmd.engine.sequence import Sequence

PARK_AFTER = 64
"""Steps of others that an idle prefix stays live. A foreign cell costs each step about 1 us, and
parking one and bringing it back about 50 us once (benchmarks/README.md): by then it has cost what
parking costs, so never more than twice what the best choice would have."""

PIECE = 1024
"""Most tokens that are parked, or given up, at once: bounds the pause."""

MIN_ANCHOR = 16
"""Tokens of a system prompt that is worth a node of its own."""

MAX_GHOST_TOKENS = 1 << 20
"""Tokens that are remembered without their state, so that a miss can be explained."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A way down a tree, of which `length` tokens can be reused for a sequence. `num_live` of them
    have their cells in memory, and nothing running uses `num_idle` of these.
    """

    nodes: tuple[Node, ...] = ()
    length: int = 0
    num_live: int = 0
    num_idle: int = 0


class KVCache:
    """Gives sequences their ids and known prefixes, and keeps what they leave. Engine thread only.

    Cells are counted, not guessed: each is one token of a live node, or of one running sequence
    beyond the node that it holds.
    """

    def __init__(
        self,
        runner: Runner,
        parking: Parking,
        *,
        num_cells: int,
        num_ids: int,
        clock: Callable[[], float],
    ) -> None:
        """`num_ids` sequence ids, at least as many as run at a time; `runner` has one more."""
        self.num_cells = num_cells
        self.cuts = runner.memory.cuts
        self.prompt_rate = Rate()
        """Prompt tokens per second, to weigh against reading them back."""
        self.trees: dict[str, RadixTree] = {}
        self.hits = CacheHits(parking)
        self._memory = runner
        self._parking = parking
        self._live = LiveCells(runner, num_ids=num_ids)
        self._checkpoints = Checkpoints(runner, parking, self._live)
        self._clock = clock
        self._copy_rate = Rate()
        self._save_rate = Rate()
        self._running: list[Sequence] = []
        self._now = self._num_kept = 0
        parking.load_index(self.trees)

    @property
    def num_free_cells(self) -> int:
        private = sum(s.num_computed - s.node.end for s in self._running)
        return self.num_cells - self._live.num_used - private

    @property
    def num_idle_cells(self) -> int:
        """Cells that `make_room` can free."""
        return self._live.num_idle

    @property
    def num_parked_bytes(self) -> int:
        """Host RAM that parked prefixes take."""
        return self._parking.num_bytes

    @property
    def num_evicted(self) -> int:
        """Tokens that had to leave that RAM."""
        return self._parking.num_evicted

    def find(self, sequence: Sequence) -> Prefix:
        """The longest known prefix that is worth reusing: at most all tokens but the last one,
        which must be computed for its logits.
        """
        tree = self.trees.get(sequence.request.scope)
        if tree is None or not sequence.may_reuse:
            return Prefix()
        limit = sequence.num_tokens - 1
        ways = tree.paths(sequence.token_array())
        found = (self._usable(way, limit) for way in ways)
        return max(found, key=lambda prefix: (prefix.length, prefix.num_live))

    def claim(self, sequence: Sequence, prefix: Prefix) -> None:
        """Give a sequence an id and its prefix. What of it is parked is brought back where there
        is room for it.
        """
        if not self._live.has_free_id:
            while not self._live.has_free_id:
                self._give_up(self._live.idle_ends()[0])
            prefix = self.find(sequence)
        places = self.hits.locate(prefix.nodes)
        sequence.sequence_id = self._live.take_id()
        self._running.append(sequence)
        self._now += 1
        if self.cuts:
            self._claim_cells(sequence, prefix)
        else:
            self._live.enter(self.root(sequence), sequence)
            self._claim_checkpoint(sequence, prefix)
        if prefix.nodes:
            prefix.nodes[-1].touch(self._now)
        self._parking.touch(prefix.nodes)
        if sequence.started_at is None:
            sequence.num_cached = sequence.num_computed
            self.hits.note(places, sequence.num_cached)
        elif sequence.first_token_at is None:
            # Set back while its prompt was read: some of what was reused may be gone.
            sequence.num_cached = min(sequence.num_cached, sequence.num_computed)

    def next_stop(self, sequence: Sequence) -> int:
        """Where computing a sequence must pause, so that a checkpoint can be taken there."""
        if self.cuts or not self._is_kept(sequence):
            return sequence.num_tokens
        return min(
            (stop for stop in sequence.stops if stop > sequence.num_computed),
            default=sequence.num_tokens,
        )

    def commit(self, sequence: Sequence) -> None:
        """Let others have what a running sequence has computed of its prompt."""
        if self._is_kept(sequence) and (self.cuts or sequence.num_computed in sequence.stops):
            self._keep(sequence)

    def release(self, sequence: Sequence) -> None:
        """Take a sequence's id back; what it computed stays known."""
        self._now += 1
        if self._is_kept(sequence):
            self._keep(sequence)
        sequence.node.touch(self._now)
        self._running.remove(sequence)
        self._live.leave(sequence)
        if sequence.request.deterministic:
            self._memory.end_exact()
        sequence.sequence_id = None
        sequence.num_computed = 0

    def reset(self, sequence: Sequence) -> None:
        """Empty a running sequence, whose memory could not be rolled back."""
        assert sequence.sequence_id is not None and sequence.node.is_root
        self._memory.truncate(sequence.sequence_id, 0)
        sequence.num_computed = sequence.num_cached = 0

    def make_room(self, num_cells: int) -> bool:
        """Give up idle prefixes until so many cells are free; False where that is impossible."""
        while self.num_free_cells < num_cells:
            ends = self._live.idle_ends()
            if not ends:
                return False
            self._give_up(ends[0])
        return True

    def tick(self) -> None:
        """A step was computed: park what has been idle for too long."""
        self._now += 1
        if self._parking.is_open:
            ends = self._live.idle_ends()
            if ends and self._now - ends[0].used_at > PARK_AFTER:
                self._give_up(ends[0])

    def clear(self) -> None:
        """Drop all that is idle, unparked: nobody knows any more what is in the memory."""
        while ends := self._live.idle_ends():
            self._live.drop(ends[0])

    def close(self) -> None:
        """Leave what is known to the disk tier, if there is one. All sequences are released."""
        while self._parking.is_lasting and (ends := self._live.idle_ends()):
            self._give_up(ends[0])
        self._parking.close()

    def has_state(self, node: Node) -> bool:
        """Whether anything of a node is there beside its tokens."""
        return node.is_live or self._parking.has(node)

    def root(self, sequence: Sequence) -> Node:
        """Of the tree that a sequence's prefix belongs to."""
        scope = sequence.request.scope
        return self.trees.setdefault(scope, RadixTree(scope)).root

    def _usable(self, way: list[tuple[Node, int]], limit: int) -> Prefix:
        """How far down a way the states reach that are worth having."""
        best = Prefix()
        nodes: list[Node] = []
        num_live = num_idle = 0
        seconds = 0.0
        for node, length in way:
            matched = min(length, limit - node.start)
            if matched <= 0 or not self.has_state(node):
                break
            if matched < len(node) and not self.cuts:
                break
            nodes.append(node)
            if node.is_live:
                num_live += matched
                num_idle += 0 if node.num_users else matched
            else:
                num_bytes = self._parking.num_bytes_of(node)
                seconds += self._parking.reading_seconds(node) + self._copy_rate.seconds(num_bytes)
            end = node.start + matched
            is_worth_it = (
                not seconds
                or not self.prompt_rate.is_known
                or seconds < self.prompt_rate.seconds(end - num_live)
            )
            if is_worth_it and (self.cuts or self._parking.has_checkpoint(node)):
                best = Prefix(tuple(nodes), end, num_live, num_idle)
        return best

    def _claim_cells(self, sequence: Sequence, prefix: Prefix) -> None:
        live = [node for node in prefix.nodes if node.is_live]
        if live and prefix.length < live[-1].end:
            live[-1] = self._split(live[-1], prefix.length - live[-1].start)
        self._live.enter(live[-1] if live else self.root(sequence), sequence)
        sequence.num_computed = sequence.node.end
        for node in prefix.nodes[len(live) :]:
            if not self._bring_back(sequence, node, prefix.length):
                return

    def _bring_back(self, sequence: Sequence, node: Node, length: int) -> bool:
        """Append a parked node to what a sequence holds, as far as `length`."""
        if not self.make_room(len(node)):
            return False
        parts = self._parking.fetch(node)
        if parts is None:
            return False
        started = self._clock()
        if not self._live.load(sequence, node.end, *parts):
            self._parking.forget(node)
            return False
        self._copy_rate.observe(self._parking.num_bytes_of(node), self._clock() - started)
        sequence.num_computed = min(node.end, length)
        if length < node.end:
            # The node stays as it is, in one piece; the sequence has a part for itself.
            assert sequence.sequence_id is not None
            self._memory.truncate(sequence.sequence_id, length)
        else:
            self._live.adopt(sequence, node)
        return True

    def _claim_checkpoint(self, sequence: Sequence, prefix: Prefix) -> None:
        if not prefix.nodes or not self.make_room(prefix.length):
            return
        started = self._clock()
        if self._checkpoints.claim(sequence, prefix.nodes):
            num_bytes = sum(self._parking.num_bytes_of(node) for node in prefix.nodes)
            self._copy_rate.observe(num_bytes, self._clock() - started)
            sequence.num_computed = prefix.length
        else:
            self.reset(sequence)

    def _is_kept(self, sequence: Sequence) -> bool:
        return sequence.may_keep and (self.cuts or self._parking.is_open)

    def _keep(self, sequence: Sequence) -> None:
        if not sequence.num_computed:
            return
        if self.cuts:
            self._keep_cells(sequence)
            last = sequence.node
        else:
            last = self._checkpoints.take(sequence, self.root(sequence), self._now)
        for node in last.path():
            if node.end > sequence.num_prompt and node.generated_at is None:
                node.generated_at = sequence.num_prompt
        ends = sequence.layout.message_ends
        if ends and MIN_ANCHOR <= ends[0] <= last.end and not sequence.has_anchor:
            sequence.has_anchor = True
            self._mark_anchor(last, ends[0])
        self._prune_ghosts()

    def _keep_cells(self, sequence: Sequence) -> None:
        """Enter what a sequence has computed into its tree; where others have computed the same,
        they share one of the two copies from now on.
        """
        tokens = sequence.token_array()
        while (end := sequence.node.end) < sequence.num_computed:
            rest = tokens[end : sequence.num_computed]
            child, length = _closest(sequence.node, rest)
            if child is None or (length < len(child) and not self._can_split(child)):
                self._live.append(sequence, rest)
                continue
            if length < len(child):
                child = self._split(child, length)
            if child.is_live:
                self._live.join(sequence, child)
            else:
                self._live.adopt(sequence, child)

    def _can_split(self, node: Node) -> bool:
        """A state outside of the memory is in one piece."""
        return node.is_live or not self._parking.has(node)

    def _split(self, node: Node, length: int) -> Node:
        self._parking.forget(node)
        return node.split(length)

    def _mark_anchor(self, last: Node, position: int) -> None:
        for node in last.path():
            if node.end <= position:
                node.is_anchor = True
            elif node.start < position and node.is_live:
                self._split(node, position - node.start).is_anchor = True

    def _give_up(self, node: Node) -> None:
        """Let an idle end out of the model's memory, or its last piece."""
        if len(node) > PIECE and not self._parking.has(node):
            self._split(node, (len(node) - 1) // PIECE * PIECE)
        if self._parking.is_open and not self._parking.has(node) and self._saves_fast(len(node)):
            started = self._clock()
            state = self._live.copy(node)
            self._save_rate.observe(len(node), self._clock() - started)
            self._parking.park(node, state)
        self._live.drop(node)

    def _saves_fast(self, num_tokens: int) -> bool:
        """Whether saving beats computing. Without flash attention llama.cpp may take as long for
        cells that lie scattered, and everybody waits meanwhile.
        """
        seconds = self._save_rate.seconds(num_tokens)
        return not self.prompt_rate.is_known or seconds < self.prompt_rate.seconds(num_tokens)

    def _prune_ghosts(self) -> None:
        """Forget the oldest of what is remembered without its state."""
        self._num_kept += 1
        if self._num_kept % 64:
            return
        for scope in [scope for scope, tree in self.trees.items() if tree.is_unused]:
            del self.trees[scope]
        ghosts = [
            node
            for tree in self.trees.values()
            for node in tree.nodes()
            if not self.has_state(node)
        ]
        num_tokens = sum(map(len, ghosts))
        for node in sorted(ghosts, key=lambda ghost: (ghost.used_at, -ghost.start)):
            if num_tokens <= MAX_GHOST_TOKENS:
                return
            if not node.num_children and node.parent is not None and not node.num_users:
                num_tokens -= len(node)
                node.parent.remove_child(node)


def _closest(node: Node, tokens: Tokens) -> tuple[Node | None, int]:
    """The child that has the most tokens in common, a live one where several have."""
    best: tuple[Node | None, int] = None, 0
    for child in node.starting_with(int(tokens[0])):
        length = common_length(child.tokens, tokens)
        if (length, child.is_live) > (best[1], best[0] is not None and best[0].is_live):
            best = child, length
    return best
