"""Where attention shall look: targets for single heads, so that choosing and copying are learnt.

A choice among tools takes three steps of attention, each of no use without the others, and is
learnt late or never where only the answer is judged. Telling a head of each step where to look
makes it a matter of minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# What a guided head looks for: the words that describe a name, the words of a request that say
# which tool is meant, the name of that tool, and the place whose token comes next.
DESCRIBED, ASKED, CHOSEN, NEXT = range(4)
NUM_KINDS = 4
# Layer and number of the heads that are guided, each with its kind and what a place weighs. The
# same head gathers what describes a name and what is asked for, so that both are told alike.
HEADS = ((1, 3), (1, 3), (2, 5), (2, 5), (3, 5), (3, 5), (4, 3), (4, 3))
DUTIES = (
    (DESCRIBED, 0.3),
    (ASKED, 0.3),
    (DESCRIBED, 0.3),
    (ASKED, 0.5),
    (CHOSEN, 0.7),
    (NEXT, 0.1),
    (CHOSEN, 0.7),
    (NEXT, 0.1),
)


@dataclass(frozen=True, slots=True)
class Guide:
    """At `place`, the head of the kind shall look at any of the targets."""

    kind: int
    place: int
    targets: tuple[int, ...]


def find(part: list[int], tokens: list[int], start: int, stop: int) -> list[int]:
    """Return where the part stands in tokens[start:stop]."""
    last = stop - len(part) + 1
    return [
        i for i in range(start, last) if tokens[i] == part[0] and tokens[i : i + len(part)] == part
    ]


def copied(place: int, source: int, length: int, first: int = NEXT) -> list[Guide]:
    """Return the guides that lead along a copy whose first token stands at `place`."""
    return [Guide(NEXT if i else first, place - 1 + i, (source + i,)) for i in range(length)]


def attention_loss(q: Tensor, k: Tensor, rows: Tensor, places: Tensor, targets: Tensor) -> Tensor:
    """Return the summed surprise that a head does not look at its targets.

    q and k of the head are [batch, time, width], rows and places [n], targets [n, time].
    """
    scores = torch.einsum("nw,ntw->nt", q[rows, places], k[rows]) * q.shape[-1] ** -0.5
    later = torch.arange(k.shape[1]) > places[:, None]
    scores = F.log_softmax(scores.masked_fill(later, float("-inf")), dim=-1)
    return -scores.masked_fill(~targets, float("-inf")).logsumexp(-1).sum()
