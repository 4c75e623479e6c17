"""Many texts, one decode: embeddings, and the scores of rerankers.

A step computes as many texts as fit into it, each as a sequence of its own, in the order of
WaitingQueue. A text longer than a step goes alone where its tokens look ahead, as it must be
computed whole; where they do not, part by part, one such text at a time, beside shorter ones.
Nothing is kept of a text once it is done.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from llmd.core.embedding import Pooling, Vector
from llmd.core.output import FinishReason, Output, Timings
from llmd.engine.executor import MAX_FAILED_STEPS, EngineBroken
from llmd.engine.pooling_runner import PoolingRunner, TextPart
from llmd.engine.request import PoolingRequest
from llmd.engine.runner import DecodeFailed, NoRoom
from llmd.engine.stats import EngineStats
from llmd.engine.waiting import WaitingQueue
from llmd.llama.pooling_context import Values

FAILED = (
    "llama.cpp failed to compute this input; the engine goes on with the others. Try it again, and "
    "see the log if it fails again"
)
NO_NUMBERS = (
    "the model computed values that are no numbers, so its file may be damaged; download it again, "
    "or try --flash-attn off"
)


@dataclass(slots=True, eq=False)
class Text:
    """One text of a request, on its way."""

    job: Job
    index: int
    arrival: int
    tokens: tuple[int, ...]
    sequence_id: int | None = None
    num_computed: int = 0
    values: Values | None = None
    """Of the tokens computed so far."""
    was_set_back: bool = False

    @property
    def request(self) -> PoolingRequest:
        return self.job.request

    @property
    def num_left(self) -> int:
        return len(self.tokens) - self.num_computed


@dataclass(slots=True, eq=False)
class Job:
    """A request, and what is known of its texts."""

    request: PoolingRequest
    texts: list[Text] = field(default_factory=list)
    vectors: dict[int, Vector] = field(default_factory=dict)
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Item:
    text: Text
    num_tokens: int

    @property
    def part(self) -> TextPart:
        text = self.text
        assert text.sequence_id is not None
        end = text.num_computed + self.num_tokens
        return TextPart(text.sequence_id, text.num_computed, text.tokens[text.num_computed : end])


class PoolingEngine:
    """Turns requests into vectors, one step at a time. Engine thread only."""

    def __init__(
        self,
        runner: PoolingRunner,
        pooling: Pooling,
        *,
        step_tokens: int,
        num_sequences: int,
        clock: Callable[[], float],
    ) -> None:
        """A step has at most `step_tokens` of at most `num_sequences` texts, or one longer text.
        The runner has room for one text as long as its context beside a whole step.
        """
        self._runner = runner
        self._pooling = pooling
        self._step_tokens = step_tokens
        self._clock = clock
        self._free_ids = list(reversed(range(num_sequences)))
        self._jobs: dict[str, Job] = {}
        self._waiting: WaitingQueue[Text] = WaitingQueue()
        self._partial: Text | None = None
        self._arrivals = count()
        self._num_failed = self._num_running = self._num_steps = self._num_tokens = 0
        self._step_seconds = self._forward_seconds = 0.0

    @property
    def is_idle(self) -> bool:
        return not self._jobs

    def add(self, request: PoolingRequest) -> None:
        """Queue all texts of a request."""
        assert request.texts
        job = self._jobs[request.id] = Job(request)
        for index, tokens in enumerate(request.texts):
            assert tokens
            text = Text(job, index, next(self._arrivals), tokens)
            job.texts.append(text)
            self._waiting.add(text)

    def abort(self, request_id: str) -> None:
        """Forget a request, in whatever state it is; unknown ids are ignored."""
        job = self._jobs.pop(request_id, None)
        for text in job.texts if job else ():
            if text in self._waiting:
                self._waiting.remove(text)
            self._release(text)

    def end(self, request_id: str) -> list[Output]:
        """Goes on: there is nothing to give before all texts are done."""
        return []

    def step(self, meanwhile: Callable[[list[Output]], None] | None = None) -> list[Output]:
        """Compute one batch; the outputs of the requests that it finished. `meanwhile` is called
        when all is ready for the model. Raises EngineBroken when nothing can be computed any more.
        """
        started = self._clock()
        items = self._plan()
        for item in items:
            if item.text.job.started_at is None:
                item.text.job.started_at = started
        self._num_running = len(items)
        if meanwhile is not None:
            meanwhile([])
        outputs = self._run(items)
        self._num_steps += 1
        self._step_seconds += self._clock() - started
        return outputs

    def fail_all(self, reason: str) -> list[Output]:
        """End every request with an error, and empty the model's memory."""
        return [self._fail(job, reason) for job in list(self._jobs.values())]

    def stats(self) -> EngineStats:
        return EngineStats(
            num_running=self._num_running if self._jobs else 0,
            num_waiting=len(self._waiting),
            num_cells=0,
            num_free_cells=0,
            num_idle_cells=0,
            num_parked_bytes=0,
            num_steps=self._num_steps,
            num_prompt_tokens=self._num_tokens,
            num_cached_tokens=0,
            num_live_hits=0,
            num_ram_hits=0,
            num_disk_hits=0,
            num_evicted=0,
            num_generated_tokens=0,
            num_set_back=0,
            step_seconds=self._step_seconds,
            forward_seconds=self._forward_seconds,
        )

    def close(self) -> None:
        """Forget everything and free the runner."""
        for request_id in list(self._jobs):
            self.abort(request_id)
        self._runner.close()

    def _plan(self) -> list[_Item]:
        room = self._step_tokens
        items = []
        if self._partial is not None:
            share = room // 2 if len(self._waiting) else room
            items.append(_Item(self._partial, min(self._partial.num_left, max(1, share))))
            room -= items[0].num_tokens
        for text in self._waiting.candidates():
            if room <= 0 or not self._free_ids:
                break
            size = len(text.tokens)
            if size > room:
                if self._runner.looks_ahead:
                    if items:
                        break  # it has the next step to itself
                elif self._partial is not None:
                    continue  # shorter ones pass beside the one that is under way
                else:
                    size, self._partial = room, text
            self._waiting.admitted(text)
            text.sequence_id = self._free_ids.pop()
            items.append(_Item(text, size))
            room -= size
        return items

    def _run(self, items: list[_Item]) -> list[Output]:
        """Compute, in parts where the whole fails, so that only what must fail does."""
        try:
            all_values = self._forward(items)
        except (NoRoom, DecodeFailed):
            return self._run_after_failure(items)
        self._num_failed = 0
        outputs = []
        for item, values in zip(items, all_values, strict=True):
            self._num_tokens += item.num_tokens
            output = self._advance(item, values)
            if output is not None:
                outputs.append(output)
        return outputs

    def _forward(self, items: list[_Item]) -> list[Values]:
        started = self._clock()
        try:
            return self._runner.forward([item.part for item in items])
        finally:
            self._forward_seconds += self._clock() - started

    def _run_after_failure(self, items: list[_Item]) -> list[Output]:
        for item in items:
            assert item.text.sequence_id is not None
            self._runner.forget(item.text.sequence_id)
        if len(items) == 1:
            self._num_failed += 1
            if self._num_failed >= MAX_FAILED_STEPS:
                raise EngineBroken("llama.cpp fails to compute; its log says why")
            return [self._fail(items[0].text.job, FAILED)]
        outputs = []
        for item in items:
            text = item.text
            if text.num_computed:
                # What stood before this part is forgotten too: it begins again.
                text.num_computed, text.values = 0, None
            elif text.request.id in self._jobs:
                outputs += self._run([item])
        return outputs

    def _advance(self, item: _Item, values: Values) -> Output | None:
        """Take in what a part gave; the output of the request that this finishes."""
        text, job = item.text, item.text.job
        if job.request.id not in self._jobs:
            return None  # another of its texts has failed
        if not np.isfinite(values).all():
            return self._fail(job, NO_NUMBERS)
        text.values = self._join(text, values, item.num_tokens)
        text.num_computed += item.num_tokens
        if text.num_left:
            return None
        self._release(text)
        job.vectors[text.index] = self._vector(text.values, job.request.dimensions)
        if len(job.vectors) < len(job.texts):
            return None
        del self._jobs[job.request.id]
        return self._output(job, FinishReason.STOP)

    def _join(self, text: Text, values: Values, num_tokens: int) -> Values:
        """What all parts of a text so far give together."""
        if text.values is None:
            return values
        if self._pooling is Pooling.CLS:
            return text.values
        if self._pooling is Pooling.MEAN:
            before = text.num_computed
            return (text.values * before + values * num_tokens) / np.float32(before + num_tokens)
        return values

    def _vector(self, values: Values, dimensions: int | None) -> Vector:
        if self._pooling is not Pooling.RANK:
            values = values[:dimensions]
            length = float(np.linalg.norm(values))
            if length > 0:
                values = values / np.float32(length)
        vector = array("f")
        vector.frombytes(values.astype(np.float32).tobytes())
        return vector

    def _release(self, text: Text) -> None:
        if self._partial is text:
            self._partial = None
        if text.sequence_id is not None:
            self._runner.forget(text.sequence_id)
            self._free_ids.append(text.sequence_id)
            text.sequence_id = None

    def _fail(self, job: Job, reason: str) -> Output:
        self.abort(job.request.id)
        return self._output(job, FinishReason.ERROR, reason)

    def _output(self, job: Job, reason: FinishReason, error: str | None = None) -> Output:
        now = self._clock()
        started_at = now if job.started_at is None else job.started_at
        return Output(
            request_id=job.request.id,
            index=0,
            text="",
            num_tokens=0,
            finish_reason=reason,
            timings=Timings(
                num_cached=0,
                num_prompt=sum(map(len, job.request.texts)),
                prompt_ms=(now - started_at) * 1e3,
                num_generated=0,
                generated_ms=0,
            ),
            error=error,
            vectors=tuple(job.vectors[index] for index in sorted(job.vectors)),
        )
