"""What requests came to: counted once, when each is over."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from llmd.serving.account import CLIENT_HAS_GONE, RequestAccount
from llmd.serving.gaps import BOUNDS, Gaps

NONE = "none"
"""The label of a request without a key, and of one that got no model."""

_WHOSE = ("model", "key")

_WAITS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
)  # fmt: skip
_DURATIONS = (
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0,
)  # fmt: skip
_TOKENS = (
    1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144,
)  # fmt: skip

# A second series of when each counter began would double what is sent.
disable_created_metrics()  # type: ignore[no-untyped-call]


class RequestMetrics:
    """Counters and histograms by model and by the name of the key. Event loop only."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gaps = _GapCollector()
        registry.register(self._gaps)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, (*_WHOSE, *labels), registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, _WHOSE, buckets=buckets, registry=registry)

        self._requests = counter(
            "llmd_requests", "Requests that are over; 499 is a client that left.", "status"
        )
        self._errors = counter("llmd_errors", "Requests that failed, by the error's code.", "code")
        self._cancelled = counter(
            "llmd_cancelled",
            "Requests whose client left: before they were handed to the model (preparing), before "
            "the first token (waiting), or later (generating).",
            "phase",
        )
        self._prompt_tokens = counter(
            "llmd_prompt_tokens", "Tokens of prompts, the cached ones included."
        )
        self._cached_tokens = counter("llmd_cached_tokens", "Tokens of prompts that were cached.")
        self._output_tokens = counter("llmd_output_tokens", "Tokens that were generated.")
        self._first_token = histogram(
            "llmd_time_to_first_token_seconds", "From the request to its first token.", _WAITS
        )
        self._queue = histogram(
            "llmd_queue_seconds",
            "From when a request was handed to its model to when work on it began.",
            _WAITS,
        )
        self._duration = histogram(
            "llmd_request_duration_seconds",
            "From the request to the end of its answer, of requests that a model worked on.",
            _DURATIONS,
        )
        self._prompt_lengths = histogram(
            "llmd_request_prompt_tokens", "Tokens of a request's prompts.", _TOKENS
        )
        self._output_lengths = histogram(
            "llmd_request_output_tokens", "Tokens generated for a request.", _TOKENS
        )

    def observe(self, account: RequestAccount, status: int, seconds: float) -> None:
        """A request is over, with this status and after so many seconds."""
        whose = account.model_name or NONE, account.key_name or NONE
        self._requests.labels(*whose, str(status)).inc()
        error = account.error
        if error is not None:
            self._errors.labels(*whose, error.code or error.type).inc()
        if status == CLIENT_HAS_GONE:
            self._cancelled.labels(*whose, _phase(account)).inc()
        if account.num_prompt is None:
            return
        self._duration.labels(*whose).observe(seconds)
        self._prompt_tokens.labels(*whose).inc(account.num_prompt)
        self._cached_tokens.labels(*whose).inc(account.num_cached)
        self._prompt_lengths.labels(*whose).observe(account.num_prompt)
        if not account.answer_id:  # nothing was to be generated
            return
        self._output_tokens.labels(*whose).inc(account.num_generated)
        self._output_lengths.labels(*whose).observe(account.num_generated)
        if account.first_token_at is not None:
            self._first_token.labels(*whose).observe(account.first_token_at - account.started_at)
        if account.queue_seconds is not None:
            self._queue.labels(*whose).observe(account.queue_seconds)
        self._gaps.add(whose, account.gaps)


def _phase(account: RequestAccount) -> str:
    if not account.answer_id:
        return "preparing"
    return "waiting" if account.first_token_at is None else "generating"


class _GapCollector(Collector):
    """A histogram that takes what requests have counted, in one piece."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], Gaps] = {}

    def add(self, whose: tuple[str, str], gaps: Gaps) -> None:
        self._of.setdefault(whose, Gaps()).add(gaps)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            "llmd_inter_token_seconds",
            "Between two pieces of an answer, as its reader gets them.",
            labels=_WHOSE,
        )
        for whose, gaps in self._of.items():
            buckets, count = [], 0
            for bound, num in zip((*BOUNDS, "+Inf"), gaps.counts, strict=True):
                count += num
                buckets.append((str(bound), count))
            family.add_metric(whose, buckets, gaps.total)
        yield family
