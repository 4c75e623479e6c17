"""What is told of a sequence."""

from __future__ import annotations

from collections.abc import Callable

from llmd.core.output import FinishReason, Output, PromptProgress, Timings
from llmd.engine.request import PoolingRequest, Request
from llmd.engine.sequence import Sequence


class Reporter:
    """Makes outputs. Engine thread only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._clock = clock

    def output(self, sequence: Sequence, text: str) -> Output:
        """News of a sequence since its last output, of which `text` is the text."""
        wants_timings = sequence.is_finished or sequence.request.timings_per_token
        progress = self._progress(sequence)
        num_new = sequence.num_generated - sequence.num_told
        sequence.num_told = sequence.num_generated
        return Output(
            request_id=sequence.request.id,
            index=sequence.index,
            text=text,
            num_tokens=num_new,
            logprobs=sequence.text.take_logprobs(),
            prompt_logprobs=sequence.take_prompt_logprobs(),
            finish_reason=sequence.finish_reason,
            timings=self._timings(sequence) if wants_timings else None,
            stop_text=sequence.text.stop_text,
            error=sequence.error,
            is_request_fault=sequence.is_request_fault,
            progress=progress,
            cache_report=sequence.report if sequence.is_finished else None,
            num_reasoning=sequence.continuation.num_thought_tokens,
        )

    def _progress(self, sequence: Sequence) -> PromptProgress | None:
        """While the prompt is read, and once when it is."""
        if not sequence.request.return_progress or sequence.num_told:
            return None
        now = self._clock()
        return PromptProgress(
            num_total=sequence.num_prompt,
            num_cached=sequence.num_cached,
            num_processed=min(sequence.num_computed, sequence.num_prompt),
            elapsed_ms=(now - (sequence.started_at or now)) * 1e3,
        )

    def _timings(self, sequence: Sequence) -> Timings:
        now = self._clock()
        started = sequence.started_at or now
        first = sequence.first_token_at or now
        return Timings(
            num_cached=sequence.num_cached,
            num_prompt=sequence.num_prompt - sequence.num_cached,
            prompt_ms=(first - started) * 1e3,
            num_generated=sequence.num_generated,
            generated_ms=(now - first) * 1e3,
        )


def refuse(request: Request | PoolingRequest, reason: str) -> list[Output]:
    """The last outputs of a request of which no sequence was ever made."""
    nothing = Timings(num_cached=0, num_prompt=0, prompt_ms=0, num_generated=0, generated_ms=0)
    return [
        Output(
            request_id=request.id,
            index=index,
            text="",
            num_tokens=0,
            finish_reason=FinishReason.ERROR,
            timings=nothing,
            error=reason,
        )
        for index in range(request.num_answers)
    ]
