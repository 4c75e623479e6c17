"""Token counts and timings, as OpenAI's and llama-server's clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmd.api.openai.encode_cache import cache_report
from llmd.core.event import Finished
from llmd.core.output import Timings
from llmd.serving.generation import Generation


def answer_tail(generation: Generation, finished: Sequence[Finished]) -> dict[str, Any]:
    """What every whole answer ends with: usage, timings and, where it was asked for, the cache
    report: one object of one prompt, a list of several.
    """
    tail: dict[str, Any] = {
        "usage": usage(generation, finished),
        "timings": total_timings(generation, finished),
    }
    in_order = sorted(finished, key=lambda event: event.index)
    reports = [cache_report(e.cache_report) for e in in_order if e.cache_report is not None]
    if reports:
        tail["cache_report"] = reports[0] if len(generation.num_prompt_tokens) == 1 else reports
    return tail


def usage(generation: Generation, finished: Sequence[Finished]) -> dict[str, Any]:
    """OpenAI's usage object. A prompt counts once, however many choices continue it, and so do its
    cached tokens: those that its first choice found. (The others find the first one's work.)
    """
    num_prompt = sum(generation.num_prompt_tokens)
    num_generated = sum(event.timings.num_generated for event in finished)
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_generated,
        "total_tokens": num_prompt + num_generated,
        "prompt_tokens_details": {"cached_tokens": _num_cached(generation, finished)},
        "completion_tokens_details": {
            "reasoning_tokens": sum(event.num_reasoning for event in finished)
        },
    }


def total_timings(generation: Generation, finished: Sequence[Finished]) -> dict[str, Any]:
    """llama-server's timings object for a whole answer. Several sequences run side by side: the
    tokens that were computed add up, and the longest of them says how long it took. `cache_n` is
    the usage's cached_tokens.
    """
    each = [event.timings for event in finished]
    total = Timings(
        num_cached=_num_cached(generation, finished),
        num_prompt=sum(one.num_prompt for one in each),
        prompt_ms=max(one.prompt_ms for one in each),
        num_generated=sum(one.num_generated for one in each),
        generated_ms=max(one.generated_ms for one in each),
    )
    return timings(total, num_sequences=len(each))


def timings(measured: Timings, *, num_sequences: int = 1) -> dict[str, Any]:
    """llama-server's timings object."""
    return {
        "cache_n": measured.num_cached,
        "prompt_n": measured.num_prompt,
        "prompt_ms": round(measured.prompt_ms, 3),
        "prompt_per_token_ms": _ratio(measured.prompt_ms, measured.num_prompt),
        "prompt_per_second": _ratio(measured.num_prompt * 1e3, measured.prompt_ms),
        "predicted_n": measured.num_generated,
        "predicted_ms": round(measured.generated_ms, 3),
        "predicted_per_token_ms": _ratio(measured.generated_ms, measured.num_generated),
        # The first token of each sequence comes out of its prompt's last step.
        "predicted_per_second": _ratio(
            max(0, measured.num_generated - num_sequences) * 1e3, measured.generated_ms
        ),
    }


def _num_cached(generation: Generation, finished: Sequence[Finished]) -> int:
    return sum(e.timings.num_cached for e in finished if generation.is_first_choice(e.index))


def _ratio(amount: float, per: float) -> float:
    return round(amount / per, 3) if per else 0.0
