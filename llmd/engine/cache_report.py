"""Why a prompt was not reused up to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from llmd.core.output import CacheReport, MissReason
from llmd.engine.kv_cache import KVCache
from llmd.engine.radix import Node, RadixTree, Tokens
from llmd.engine.sequence import Sequence

logger = logging.getLogger("llmd.cache")

NUM_SHOWN = 8
"""Tokens of text to show on each side of where a prompt leaves what is known."""

MIN_ELSEWHERE = 16
"""Tokens that another key must know beyond one's own for that to be the reason."""

_ENDS_OF_THOUGHT = (
    "</think>", "[/THINK]", "</thinking>", "</thought>", "</reasoning>", "</seed:think>",
    "<|channel|>final", "<channel|>", "<|END_THINKING|>",
)  # fmt: skip
"""As the templates of reasoning models write them."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The longest way down a tree that agrees with a prompt, and what stood there next."""

    length: int = 0
    continuation: Tokens = field(default_factory=lambda: np.empty(0, np.int32))
    generated_at: int | None = None
    """Where in the continuation's node a model began to write."""
    nodes: tuple[Node, ...] = ()


class CacheDoctor:
    """Explains misses, in the log for the operator and in a report for who asks. Engine thread
    only. Costs nothing unless one of them listens.
    """

    def __init__(self, cache: KVCache, token_bytes: Callable[[int], bytes]) -> None:
        self._cache = cache
        self._token_bytes = token_bytes

    def examine(self, sequence: Sequence) -> None:
        """Write the report of a sequence whose prefix was claimed just now."""
        if not sequence.request.cache_report and not logger.isEnabledFor(logging.DEBUG):
            return
        report = sequence.report = self._explain(sequence)
        if report.reason is None:
            logger.debug(
                "request %s: %d of %d prompt tokens reused",
                sequence.request.id, report.num_cached, report.num_prompt,
            )  # fmt: skip
        else:
            logger.debug(
                "request %s: %d of %d prompt tokens reused; %s at token %d: was %r, is now %r",
                sequence.request.id, report.num_cached, report.num_prompt,
                report.reason.value, report.position, report.was, report.now,
            )  # fmt: skip

    def _explain(self, sequence: Sequence) -> CacheReport:
        tokens = sequence.token_array()[: sequence.num_prompt]
        nothing = CacheReport(num_prompt=sequence.num_prompt, num_cached=sequence.num_cached)
        if not sequence.may_reuse:
            return nothing
        known = _longest(self._cache.trees.get(sequence.request.scope), tokens)
        reason = self._reason(sequence, tokens, known)
        if reason is None:
            return nothing
        position, was = known.length, known.continuation[:NUM_SHOWN]
        if reason in (MissReason.EVICTED, MissReason.CHECKPOINT_GAP):
            position = sequence.num_cached
            was = tokens[position : position + NUM_SHOWN]
        before = tokens[max(0, position - NUM_SHOWN) : position]
        now = tokens[position : position + NUM_SHOWN]
        return CacheReport(
            num_prompt=sequence.num_prompt,
            num_cached=sequence.num_cached,
            reason=reason,
            position=position,
            was=self._text(before, was),
            now=self._text(before, now),
        )

    def _reason(self, sequence: Sequence, tokens: Tokens, known: _Known) -> MissReason | None:
        num_reusable = min(known.length, len(tokens) - 1)
        if self._num_known_elsewhere(sequence, tokens) >= num_reusable + MIN_ELSEWHERE:
            return MissReason.OTHER_KEY
        if self._drops_thought(known):
            return MissReason.REASONING_DROPPED
        if sequence.num_cached < num_reusable:
            missed = [node for node in known.nodes if node.end > sequence.num_cached]
            if not self._cache.cuts and any(map(self._cache.has_state, missed)):
                return MissReason.CHECKPOINT_GAP
            return MissReason.EVICTED
        if known.length >= len(tokens) or not len(known.continuation):
            return None  # all of it, or simply more text
        tools = sequence.layout.tools
        if tools is not None and tools[0] <= known.length <= tools[1]:
            return MissReason.TOOLS_CHANGED
        return MissReason.PROMPT_CHANGED

    def _drops_thought(self, known: _Known) -> bool:
        """Whether the known text went on with a thought. Some templates open it in the prompt, or
        write an empty one in its place, so the difference may begin some tokens earlier or later.
        """
        if known.generated_at is None or known.length < known.generated_at - NUM_SHOWN:
            return False
        text = self._text(known.continuation)
        return any(end in text for end in _ENDS_OF_THOUGHT)

    def _num_known_elsewhere(self, sequence: Sequence, tokens: Tokens) -> int:
        scope = sequence.request.scope
        others = (tree for other, tree in self._cache.trees.items() if other != scope)
        return max((_longest(tree, tokens).length for tree in others), default=0)

    def _text(self, *parts: Tokens) -> str:
        data = b"".join(self._token_bytes(int(token)) for part in parts for token in part)
        return data.decode("utf-8", "replace")


def _longest(tree: RadixTree | None, tokens: Tokens) -> _Known:
    if tree is None:
        return _Known()
    way = tree.longest_path(tokens)
    nodes = tuple(node for node, _ in way)
    last, length = way[-1] if way else (tree.root, 0)
    position = last.start + length
    if length == len(last):
        # The tokens part after this node, if anything stood there.
        children = sorted(last.children(), key=lambda child: child.used_at)
        if not children:
            return _Known(position, nodes=nodes)
        last, length = children[-1], 0
    return _Known(position, last.tokens[length:], last.generated_at, nodes)
