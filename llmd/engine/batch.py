"""One step's plan."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class BatchItem:
    """Tokens `start` to `start + num_tokens` of a sequence; the last `num_logits` of them give a
    row of logits each.
    """

    sequence: Sequence
    start: int
    num_tokens: int
    num_logits: int

    @property
    def end(self) -> int:
        return self.start + self.num_tokens

    @property
    def is_decode(self) -> bool:
        """Whether it goes on generating; what it has beyond one token costs as a prompt's do."""
        return self.num_tokens == 1 or self.start >= self.sequence.num_prompt


Batch = tuple[BatchItem, ...]


def split(batch: Batch) -> tuple[Batch, Batch]:
    """Two batches that compute the same, one after the other. A single item is cut in two, so a
    batch of one token cannot be split.
    """
    if len(batch) > 1:
        middle = len(batch) // 2
        return batch[:middle], batch[middle:]
    (item,) = batch
    assert item.num_tokens > 1
    head = item.num_tokens // 2
    tail = item.num_tokens - head
    tail_logits = min(item.num_logits, tail)
    return (
        (BatchItem(item.sequence, item.start, head, item.num_logits - tail_logits),),
        (BatchItem(item.sequence, item.start + head, tail, tail_logits),),
    )
