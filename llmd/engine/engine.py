"""Continuous batching: many sequences, one decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from llmd.core.output import FinishReason, Output
from llmd.core.sampling import SamplingParams
from llmd.engine.batch import Batch, BatchItem
from llmd.engine.cache_report import CacheDoctor
from llmd.engine.continuation import Continuation
from llmd.engine.executor import BatchExecutor
from llmd.engine.grammar import ConstraintFailed
from llmd.engine.kv_cache import KVCache
from llmd.engine.pacing import Pacer
from llmd.engine.reporting import Reporter
from llmd.engine.request import PromptLayout, Request
from llmd.engine.runner import Runner
from llmd.engine.sampler import Chain, Sampler, SamplingFailed, Vocabulary, is_plain_greedy
from llmd.engine.scheduler import Scheduler
from llmd.engine.sequence import Sequence
from llmd.engine.stats import EngineStats
from llmd.engine.text import TextStream
from llmd.engine.thought import ThoughtMeter
from llmd.llama.context import Row

MakeChain = Callable[[SamplingParams, int], Chain]
"""A native sampler chain for parameters and a seed."""


class Engine:
    """Turns requests into outputs, one step at a time. Engine thread only."""

    def __init__(
        self,
        runner: Runner,
        cache: KVCache,
        pacer: Pacer,
        scheduler: Scheduler,
        vocabulary: Vocabulary,
        make_chain: MakeChain,
        *,
        context_size: int,
        clock: Callable[[], float],
    ) -> None:
        """`context_size` is the most tokens of one sequence; `clock` gives seconds."""
        self._scheduler = scheduler
        self._cache = cache
        self._pacer = pacer
        self._doctor = CacheDoctor(cache, vocabulary.token_bytes)
        self._executor = BatchExecutor(runner, cache, scheduler, clock)
        self._vocabulary = vocabulary
        self._make_chain = make_chain
        self._context_size = context_size
        self._clock = clock
        self._reporter = Reporter(clock)
        self._arrivals = count()
        self._num_steps = self._num_prompt_tokens = self._num_generated_tokens = 0
        self._num_cached_tokens = 0
        self._step_seconds = 0.0

    @property
    def is_idle(self) -> bool:
        return self._scheduler.is_idle

    def add(self, request: Request) -> None:
        """Queue all sequences of a request."""
        self._scheduler.add(self._make_sequences(request))

    def abort(self, request_id: str) -> None:
        """Forget a request, in whatever state it is; unknown ids are ignored."""
        for sequence in self._scheduler.sequences():
            if sequence.request.id == request_id:
                sequence.finish(FinishReason.ABORTED)
                self._remove(sequence)

    def end(self, request_id: str) -> list[Output]:
        """The last outputs of a request, which ends here at its length; none of an unknown one."""
        outputs = []
        for sequence in self._scheduler.sequences():
            if sequence.request.id == request_id:
                sequence.finish(FinishReason.LENGTH)
                outputs.append(self._finish(sequence, sequence.text.flush()))
        return outputs

    def step(self, meanwhile: Callable[[list[Output]], None] | None = None) -> list[Output]:
        """Compute one batch and draw a token for each sequence that is up to date. `meanwhile` is
        called when all is ready for the model, with news of sequences that begin. Raises
        EngineBroken when nothing can be computed any more.
        """
        started = self._clock()
        batch = self._scheduler.schedule()
        outputs = self._begin(batch)
        if meanwhile is not None:
            meanwhile(outputs)
            outputs = []
        for item, rows in self._executor.run(batch):
            output = self._advance(item, rows)
            if output is not None:
                outputs.append(output)
        self._num_steps += 1
        seconds = self._clock() - started
        self._step_seconds += seconds
        self._learn(batch, seconds)
        self._cache.tick()
        return outputs + self._collect_failures(batch)

    def fail_all(self, reason: str) -> list[Output]:
        """End every sequence with an error, and empty the model's memory."""
        outputs = []
        for sequence in self._scheduler.sequences():
            sequence.finish(FinishReason.ERROR, reason)
            outputs.append(self._finish(sequence, ""))
        self._cache.clear()
        return outputs

    def stats(self) -> EngineStats:
        scheduler, cache = self._scheduler, self._cache
        return EngineStats(
            num_running=len(scheduler.running),
            num_waiting=len(scheduler.waiting),
            num_cells=cache.num_cells,
            num_free_cells=cache.num_free_cells,
            num_idle_cells=cache.num_idle_cells,
            num_parked_bytes=cache.num_parked_bytes,
            num_steps=self._num_steps,
            num_prompt_tokens=self._num_prompt_tokens,
            num_cached_tokens=self._num_cached_tokens,
            num_live_hits=cache.hits.num_live,
            num_ram_hits=cache.hits.num_in_ram,
            num_disk_hits=cache.hits.num_on_disk,
            num_evicted=cache.num_evicted,
            num_generated_tokens=self._num_generated_tokens,
            num_set_back=scheduler.num_set_back,
            step_seconds=self._step_seconds,
            forward_seconds=self._executor.forward_seconds,
        )

    def close(self) -> None:
        """Free all sequences and the runner."""
        for sequence in self._scheduler.sequences():
            self._remove(sequence)
        self._cache.close()
        self._executor.close()

    def _make_sequences(self, request: Request) -> Iterator[Sequence]:
        layouts = request.layouts or (PromptLayout(),) * len(request.prompts)
        prompts = [
            each
            for each in zip(request.prompts, layouts, strict=True)
            for _ in range(request.num_choices)
        ]
        for index, (prompt, layout) in enumerate(prompts):
            room = self._context_size - len(prompt)
            assert len(prompt) > 0 and room > 0
            # Choices of one request must differ, and the same request must repeat itself.
            continuation = self._make_continuation(request, request.seed + index)
            continuation.accept_prompt(prompt)
            yield Sequence(
                request=request,
                index=index,
                arrival=next(self._arrivals),
                tokens=list(prompt),
                num_prompt=len(prompt),
                max_tokens=room if request.max_tokens is None else min(request.max_tokens, room),
                continuation=continuation,
                text=TextStream(request.stop),
                layout=layout,
            )

    def _make_continuation(self, request: Request, seed: int) -> Continuation:
        plain = is_plain_greedy(request.sampling)
        chain = None if plain else self._make_chain(request.sampling, seed)
        return Continuation(
            Sampler(request.sampling, self._vocabulary, chain),
            self._vocabulary,
            constraint=request.grammar.start() if request.grammar else None,
            meter=ThoughtMeter(request.thought) if request.thought else None,
            jumps=request.top_logprobs is None,
            watched_ids=request.watched_ids,
        )

    def _begin(self, batch: Batch) -> list[Output]:
        """News of the sequences whose first step this is."""
        outputs = []
        for sequence in [item.sequence for item in batch if item.sequence.started_at is None]:
            sequence.started_at = self._clock()
            self._num_cached_tokens += sequence.num_cached
            self._doctor.examine(sequence)
            if sequence.request.return_progress:
                outputs.append(self._reporter.output(sequence, ""))
        return outputs

    def _learn(self, batch: Batch, seconds: float) -> None:
        """Let the pacer and the cache know how fast this machine is."""
        if batch and batch[0].sequence.request.deterministic:
            return
        num_generating = sum(item.is_decode for item in batch)
        num_read = sum(item.num_tokens for item in batch) - num_generating
        self._pacer.observe(num_generating, num_read, seconds)
        if num_read and not num_generating:
            self._cache.prompt_rate.observe(num_read, seconds)

    def _advance(self, item: BatchItem, rows: list[Row]) -> Output | None:
        sequence = item.sequence
        sequence.num_computed = item.end
        self._num_prompt_tokens += max(0, min(item.end, sequence.num_prompt) - item.start)
        if sequence.request.prompt_logprobs:
            self._score_prompt(item, rows)
        if item.start < sequence.num_prompt:
            self._cache.commit(sequence)
        if not sequence.num_pending:
            return self._extend(sequence, rows[-1])
        return self._reporter.output(sequence, "") if sequence.request.return_progress else None

    def _score_prompt(self, item: BatchItem, rows: list[Row]) -> None:
        sequence = item.sequence
        num_top = sequence.request.top_logprobs or 0
        if sequence.num_scored == 0:
            sequence.add_prompt_logprob(None)  # nothing stands before the first token
        for position, row in enumerate(rows, start=item.end - len(rows) + 1):
            if position == sequence.num_scored < sequence.num_prompt:
                token_id = sequence.tokens[position]
                sequence.add_prompt_logprob(sequence.continuation.logprob(row, token_id, num_top))

    def _extend(self, sequence: Sequence, row: Row) -> Output:
        """Append what comes next."""
        if sequence.max_tokens == 0:
            sequence.finish(FinishReason.LENGTH)
            return self._finish(sequence, "")
        text = ""
        sequence.num_fresh = 0
        try:
            for token_id in sequence.continuation.tokens(row):
                text += self._append(sequence, token_id, row)
                if sequence.is_finished:
                    break
        except SamplingFailed as failure:
            sequence.finish(FinishReason.ERROR, str(failure))
        except ConstraintFailed as failure:
            sequence.finish(FinishReason.ERROR, str(failure), is_request_fault=True)
        if sequence.is_finished:
            return self._finish(sequence, text + sequence.text.flush())
        return self._reporter.output(sequence, text)

    def _append(self, sequence: Sequence, token_id: int, row: Row) -> str:
        """Let a token stand at a sequence's end, which may end it; the text that it lets out."""
        num_top = sequence.request.top_logprobs
        logprob = None
        if num_top is not None:
            logprob = sequence.continuation.logprob(row, token_id, num_top)
        sequence.tokens.append(token_id)
        sequence.num_fresh += 1
        self._num_generated_tokens += 1
        if sequence.first_token_at is None:
            sequence.first_token_at = self._clock()
        if token_id in self._vocabulary.end_of_generation_ids:
            if logprob is not None and sequence.request.scores_end:
                sequence.text.end(logprob)
            sequence.finish(FinishReason.STOP)
            return ""
        text = sequence.text.feed(self._vocabulary.token_bytes(token_id), logprob)
        if sequence.text.stop_text is not None or sequence.continuation.is_complete:
            sequence.finish(FinishReason.STOP)
        elif sequence.num_generated >= sequence.max_tokens or (
            "\n" in text and self._is_late(sequence)
        ):
            sequence.finish(FinishReason.LENGTH)
        return text

    def _is_late(self, sequence: Sequence) -> bool:
        limit = sequence.request.max_generating_ms
        first = sequence.first_token_at
        return limit is not None and first is not None and self._clock() - first > limit / 1e3

    def _finish(self, sequence: Sequence, text: str) -> Output:
        self._remove(sequence)
        return self._reporter.output(sequence, text)

    def _collect_failures(self, batch: Batch) -> list[Output]:
        failed = {
            id(i.sequence): i.sequence
            for i in batch
            if i.sequence.finish_reason is FinishReason.ERROR and i.sequence in self._scheduler
        }
        return [self._finish(sequence, sequence.text.flush()) for sequence in failed.values()]

    def _remove(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        sequence.continuation.free()
