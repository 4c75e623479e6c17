"""Waiting for what another sequence is computing anyway."""

from __future__ import annotations

from collections.abc import Iterable

from llmd.engine.radix import common_length
from llmd.engine.sequence import Sequence

MIN_GAIN = 16
"""Tokens that waiting must spare; fewer are computed at once."""

SLOWEST_PACE = 6
"""Tokens per step: a leader that is slower on average is not waited for. The pacer grants a lone
prompt 8, but for the few steps in which it measures decodes alone."""


def is_ahead(sequence: Sequence, running: Iterable[Sequence]) -> bool:
    """Whether a waiting sequence's leader still computes what it waits for; called once a step.
    Forgets the leader when that is done, when the leader is gone, and when it is too slow.
    """
    leader = sequence.leader
    if leader is None:
        return False
    sequence.patience -= 1
    if (
        sequence.patience >= 0
        and leader in running
        and leader.num_computed < sequence.leader_position
    ):
        return True
    # One that lost its patience must not begin to wait again.
    sequence.patience = min(sequence.patience, 0)
    sequence.leader = None
    return False


def follows(sequence: Sequence, running: Iterable[Sequence], num_known: int, *, cuts: bool) -> bool:
    """Find a leader: a running sequence of the scope that is about to compute more of this one's
    prompt than the `num_known` tokens which are known already. Without `cuts` the memory can be
    taken up at the leader's stops only.
    """
    if not sequence.may_reuse or sequence.patience < 0:
        return False
    tokens = None
    best: tuple[int, Sequence] | None = None
    for leader in running:
        if not (
            leader.is_reading and leader.may_keep and leader.request.scope == sequence.request.scope
        ):
            continue
        if tokens is None:
            tokens = sequence.token_array()[: sequence.num_tokens - 1]
        position = common_length(leader.token_array()[: leader.num_prompt], tokens)
        if not cuts:
            position = max((stop for stop in leader.stops if stop <= position), default=0)
        if position - num_known >= MIN_GAIN and leader.num_computed < position:
            best = max(best or (0, leader), (position, leader), key=lambda each: each[0])
    if best is None:
        return False
    sequence.leader_position, sequence.leader = best
    sequence.patience = (best[0] - best[1].num_computed) // SLOWEST_PACE + SLOWEST_PACE
    return True
