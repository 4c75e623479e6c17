"""Computing a step's plan so that only what must fail does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from llmd.core.output import FinishReason
from llmd.engine.batch import Batch, BatchItem, split
from llmd.engine.kv_cache import KVCache
from llmd.engine.runner import DecodeFailed, NoRoom, Runner
from llmd.engine.scheduler import Scheduler
from llmd.errors import ModelLoadError
from llmd.llama.context import Row

MAX_FAILED_STEPS = 3
"""Decodes in a row that fail for a single sequence, after which the engine says it is broken."""


class EngineBroken(Exception):
    """The model computes nothing any more."""


class BatchExecutor:
    """Runs batches on the model, in parts where the whole finds no room or fails. Engine thread
    only; owns the runner.
    """

    def __init__(
        self, runner: Runner, cache: KVCache, scheduler: Scheduler, clock: Callable[[], float]
    ) -> None:
        self._runner = runner
        self._cache = cache
        self._scheduler = scheduler
        self._clock = clock
        self._num_failed = 0
        self.forward_seconds = 0.0
        """Time spent inside the model."""

    def run(self, batch: Batch) -> Iterator[tuple[BatchItem, list[Row]]]:
        """Every item that could be computed, with its rows; use them before asking for the next.
        A sequence whose item could not be is finished with an error, or was set back. Raises
        EngineBroken when nothing can be computed any more.
        """
        # What was set back since the plan was made has lost its place.
        batch = tuple(item for item in batch if item.sequence.sequence_id is not None)
        if not batch:
            return
        try:
            rows = self._forward(batch)
        except NoRoom:
            yield from self._run_without_room(batch)
        except DecodeFailed:
            yield from self._run_after_failure(batch)
        except ModelLoadError as error:
            batch[0].sequence.finish(FinishReason.ERROR, error.message)
        else:
            self._num_failed = 0
            num_taken = 0
            for item in batch:
                yield item, rows[num_taken : num_taken + item.num_logits]
                num_taken += item.num_logits

    def close(self) -> None:
        self._runner.close()

    def _forward(self, batch: Batch) -> list[Row]:
        started = self._clock()
        for item in batch:
            if item.sequence.started_at is None:
                item.sequence.started_at = started
        try:
            return self._runner.forward(batch)
        finally:
            self.forward_seconds += self._clock() - started

    def _run_without_room(self, batch: Batch) -> Iterator[tuple[BatchItem, list[Row]]]:
        if num_idle := self._cache.num_idle_cells:
            self._cache.make_room(self._cache.num_free_cells + num_idle)
            yield from self.run(batch)
        elif len(batch) > 1 or batch[0].num_tokens > 1:
            for part in split(batch):
                yield from self.run(part)
        elif len(self._scheduler.running) > 1:
            self._scheduler.set_back_youngest()
            yield from self.run(batch)
        else:
            batch[0].sequence.finish(
                FinishReason.ERROR,
                "the model's memory has no room for one more token of this request; shorten it, "
                "or start llmd with a larger --kv-tokens",
            )

    def _run_after_failure(self, batch: Batch) -> Iterator[tuple[BatchItem, list[Row]]]:
        for item in batch:
            self._roll_back(item)
        if len(batch) > 1:
            for item in batch:
                # One that had to begin again is planned anew in the next step.
                if item.sequence.num_computed == item.start:
                    yield from self.run((item,))
            return
        self._num_failed += 1
        if self._num_failed >= MAX_FAILED_STEPS:
            raise EngineBroken("llama.cpp fails to compute; its log says why")
        batch[0].sequence.finish(
            FinishReason.ERROR,
            "llama.cpp failed to compute this request; the engine goes on with the others. "
            "Try it again, and see the log if it fails again",
        )

    def _roll_back(self, item: BatchItem) -> None:
        sequence = item.sequence
        if sequence.sequence_id is None:
            return
        if not self._runner.truncate(sequence.sequence_id, sequence.num_computed):
            # Recurrent memory cannot drop a suffix: begin again.
            self._cache.reset(sequence)
