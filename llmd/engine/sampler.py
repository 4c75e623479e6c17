"""The next token of one sequence, from its row of logits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import isfinite
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmd.core.output import Candidate, TokenLogprob
from llmd.core.sampling import SamplingParams
from llmd.engine.grammar import Constraint, ConstraintFailed, Mask
from llmd.llama.context import Row
from llmd.llama.sampler import CANDIDATE

_GROUP = 64
_MIN_PRUNED_VOCABULARY = 8192
_MAX_TOUCHED = 2048
_IMPOSSIBLE = np.float32(-np.inf)


class SamplingFailed(Exception):
    """The model's logits are no numbers; the sequence cannot go on. The message is for its
    client.
    """

    def __init__(self) -> None:
        super().__init__(
            "the model computed logits that are no numbers; its file may be damaged, or "
            "--cache-type-k and --cache-type-v too coarse for it"
        )


class Vocabulary(Protocol):
    """What the engine asks of a tokenizer."""

    @property
    def end_of_generation_ids(self) -> frozenset[int]: ...

    @property
    def suppressed_ids(self) -> tuple[int, ...]: ...

    def token_bytes(self, token_id: int) -> bytes: ...


class Chain(Protocol):
    """A native sampler chain; see llmd.llama.sampler."""

    def sample(self, candidates: NDArray[np.void]) -> int: ...
    def redraw(self, allowed: Mask) -> int | None: ...
    def accept(self, token_id: int) -> None: ...
    def free(self) -> None: ...


class Sampler:
    """Draws tokens for one sequence. Engine thread only; `free` gives its native chain back.

    A native chain over 150,000 candidates costs more than a millisecond. Where top_k bounds what
    can be drawn, only tokens that can be among the top k are handed to it: the k + m largest
    logits, and the m tokens that bias or penalties may move. The result is the same.
    """

    def __init__(self, params: SamplingParams, vocabulary: Vocabulary, chain: Chain | None) -> None:
        """`chain` None needs plain greedy parameters: see `is_plain_greedy`."""
        assert chain is not None or is_plain_greedy(params)
        self._params = params
        self._vocabulary = vocabulary
        self._chain = chain
        self._biased = tuple(token for token, _ in params.logit_bias)
        self._recent: deque[int] | None = None
        if _looks_back(params):
            last_n = max(
                _window(params.repeat_last_n),
                _window(params.dry_penalty_last_n) if params.dry_multiplier else 0,
            )
            self._recent = deque(maxlen=last_n)

    def accept(self, token_ids: Sequence[int]) -> None:
        """Tokens that now stand in the text, in order: the prompt's first, then each one drawn."""
        if self._recent is None or self._chain is None:
            return
        window = self._recent.maxlen or 0
        for token_id in token_ids[max(0, len(token_ids) - window) :]:
            self._chain.accept(token_id)
            self._recent.append(token_id)

    def sample(self, row: Row, constraint: Constraint | None = None) -> int:
        """Draw a token and accept it, here and in its constraint. Raises SamplingFailed on logits
        that are no numbers, and ConstraintFailed.

        The constraint is asked about the token that was drawn; only when it refuses, about all of
        them. The distribution is that of drawing until a token is allowed. Where truncation leaves
        none that is, it is that of the whole chain over the allowed ones.
        """
        token_id = self._draw(row, None)
        if constraint is not None and not constraint.accept(token_id):
            token_id = self._redraw(row, constraint.mask())
            if not constraint.accept(token_id):
                raise ConstraintFailed("it refuses what it allowed")
        self.accept((token_id,))
        return token_id

    def logprob(
        self, row: Row, token_id: int, num_top: int, watched_ids: Sequence[int] = ()
    ) -> TokenLogprob:
        """A token's logprob in the raw distribution, with the `num_top` most likely ones, and
        behind these the watched ones.
        """
        highest = float(row.max())
        norm = highest + float(np.log(np.exp(row - highest).sum(dtype=np.float64)))
        top: tuple[Candidate, ...] = ()
        if num_top:
            ids = largest(row, num_top)
            ids = ids[np.lexsort((ids, -row[ids]))][:num_top]
            top = tuple(self._candidate(row, int(i), norm) for i in ids)
        top += tuple(self._candidate(row, token, norm) for token in watched_ids)
        return TokenLogprob(self._candidate(row, token_id, norm), top)

    def free(self) -> None:
        """Idempotent."""
        if self._chain is not None:
            self._chain.free()

    def _candidate(self, row: Row, token_id: int, norm: float) -> Candidate:
        text = self._vocabulary.token_bytes(token_id)
        return Candidate(token_id, text, float(row[token_id]) - norm)

    def _draw(self, row: Row, allowed: Mask | None) -> int:
        if self._chain is not None:
            return self._chain.sample(self._candidates(row, allowed))
        if allowed is not None:
            row = np.where(allowed, row, _IMPOSSIBLE)
        token_id = int(row.argmax())
        if not isfinite(row[token_id]):
            raise SamplingFailed
        return token_id

    def _redraw(self, row: Row, allowed: Mask) -> int:
        token_id = None if self._chain is None else self._chain.redraw(allowed)
        return self._draw(row, allowed) if token_id is None else token_id

    def _candidates(self, row: Row, allowed: Mask | None) -> NDArray[np.void]:
        ids = self._likely_ids(row) if allowed is None else self._likely_allowed_ids(row, allowed)
        logits = row if ids is None else row[ids]
        # NaN is above no threshold: where all are NaN, no candidate was found.
        if not len(logits) or not isfinite(logits.max()):
            raise SamplingFailed
        candidates = np.empty(len(logits), dtype=CANDIDATE)
        candidates["id"] = np.arange(len(row), dtype=np.int32) if ids is None else ids
        candidates["logit"] = logits
        return candidates

    def _likely_allowed_ids(self, row: Row, allowed: Mask) -> NDArray[np.intp]:
        ids = np.flatnonzero(allowed)
        if len(ids) <= _MIN_PRUNED_VOCABULARY:
            return ids
        likely = self._likely_ids(np.where(allowed, row, _IMPOSSIBLE))
        return ids if likely is None else likely[allowed[likely]]

    def _likely_ids(self, row: Row) -> NDArray[np.intp] | None:
        params = self._params
        num_kept = 1 if params.temperature <= 0 else params.top_k
        if num_kept <= 0 or params.mirostat or params.top_n_sigma > 0:
            return None
        touched = {*self._biased, *(self._recent or ())}
        num_kept = max(num_kept, params.min_keep) + len(touched)
        if len(row) < _MIN_PRUNED_VOCABULARY or len(touched) > _MAX_TOUCHED:
            return None
        ids = largest(row, num_kept)
        if touched:
            ids = np.union1d(ids, np.fromiter(touched, dtype=np.intp))
        return ids


def largest(row: Row, count: int) -> NDArray[np.intp]:
    """Ids of the `count` largest logits, in no order, and perhaps of some more."""
    num_groups = len(row) // _GROUP
    if count > num_groups:
        count = min(count, len(row))
        return np.argpartition(row, -count)[-count:]
    # The n-th largest of the groups' maxima has at least n logits at or above it. A group is a
    # column, as numpy takes the maxima of columns several times faster than those of rows.
    groups = row[: num_groups * _GROUP].reshape(_GROUP, num_groups)
    maxima = groups.max(axis=0)
    threshold = np.partition(maxima, num_groups - count)[num_groups - count]
    return np.flatnonzero(row >= threshold)


def is_plain_greedy(params: SamplingParams) -> bool:
    """Whether the next token is simply the one with the largest logit."""
    return params.temperature <= 0 and not params.logit_bias and not _looks_back(params)


def _looks_back(params: SamplingParams) -> bool:
    penalizes = (
        params.repeat_penalty != 1 or params.presence_penalty != 0 or params.frequency_penalty != 0
    )
    return (penalizes and params.repeat_last_n != 0) or params.dry_multiplier != 0


def _window(last_n: int) -> int:
    return last_n if last_n >= 0 else 1 << 20
