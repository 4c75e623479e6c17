"""Token counts and timings, as OpenAI's and llama-server's clients read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmd.core.event import Finished
from llmd.core.output import Timings


def usage(num_prompt_tokens: int, finished: Sequence[Finished]) -> dict[str, Any]:
    """OpenAI's usage object. A prompt counts once, however many choices continue it."""
    num_generated = sum(event.timings.num_generated for event in finished)
    num_cached = min(num_prompt_tokens, sum(event.timings.num_cached for event in finished))
    return {
        "prompt_tokens": num_prompt_tokens,
        "completion_tokens": num_generated,
        "total_tokens": num_prompt_tokens + num_generated,
        "prompt_tokens_details": {"cached_tokens": num_cached},
    }


def timings(all_timings: Sequence[Timings]) -> dict[str, Any]:
    """llama-server's timings object. Several sequences run side by side: their tokens add up,
    and the longest of them says how long it took.
    """
    num_prompt = sum(each.num_prompt for each in all_timings)
    num_generated = sum(each.num_generated for each in all_timings)
    prompt_ms = max(each.prompt_ms for each in all_timings)
    generated_ms = max(each.generated_ms for each in all_timings)
    return {
        "cache_n": sum(each.num_cached for each in all_timings),
        "prompt_n": num_prompt,
        "prompt_ms": round(prompt_ms, 3),
        "prompt_per_token_ms": _ratio(prompt_ms, num_prompt),
        "prompt_per_second": _ratio(num_prompt * 1e3, prompt_ms),
        "predicted_n": num_generated,
        "predicted_ms": round(generated_ms, 3),
        "predicted_per_token_ms": _ratio(generated_ms, num_generated),
        # The first token of each sequence comes out of its prompt's last step.
        "predicted_per_second": _ratio(
            max(0, num_generated - len(all_timings)) * 1e3, generated_ms
        ),
    }


def _ratio(amount: float, per: float) -> float:
    return round(amount / per, 3) if per else 0.0
