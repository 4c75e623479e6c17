"""How a prompt was read, and what of it was known: llama-server's progress, llmd's report."""

from __future__ import annotations

from typing import Any

from llmd.core.output import CacheReport, PromptProgress


def prompt_progress(progress: PromptProgress) -> dict[str, int]:
    """llama-server's prompt_progress object; it too tells whole milliseconds."""
    return {
        "total": progress.num_total,
        "cache": progress.num_cached,
        "processed": progress.num_processed,
        "time_ms": round(progress.elapsed_ms),
    }


def cache_report(report: CacheReport) -> dict[str, Any]:
    """Where, as a token position, and why a prompt was not reused any further."""
    return {
        "prompt_tokens": report.num_prompt,
        "cached_tokens": report.num_cached,
        "reason": None if report.reason is None else report.reason.value,
        "position": report.position,
        "was": report.was,
        "now": report.now,
    }
