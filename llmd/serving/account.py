"""What one request came to, for the access log and for whoever else counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from llmd.core.event import Finished
from llmd.core.output import FinishReason, Output
from llmd.errors import EngineFailed, InvalidRequest, LlmdError
from llmd.recording.recorder import Recorder
from llmd.serving.gaps import Gaps

CLIENT_HAS_GONE = 499
"""nginx's status for it; it is never sent."""


@dataclass(slots=True, eq=False)
class RequestAccount:
    """One request's own; whoever works on it fills in what it knows. Event loop only."""

    request_id: str
    started_at: float = field(default_factory=time.monotonic)
    """As all that ends in `_at`, seconds of the monotonic clock."""
    key_name: str = ""
    """The name of the API key that it came with, never the key."""
    model_name: str = ""
    answer_id: str = ""
    """The engine's id of it, which is part of the answer's id."""
    num_prompt: int | None = None
    """Tokens; None where none were counted."""
    num_cached: int = 0
    num_generated: int = 0
    submitted_at: float | None = None
    """When it was handed to the engine."""
    first_token_at: float | None = None
    queue_seconds: float | None = None
    """From then to when work on it began, as far as is known."""
    gaps: Gaps = field(default_factory=Gaps)
    finish_reasons: tuple[str, ...] = ()
    """Each once, in the order in which the choices ended."""
    error: LlmdError | None = None
    recorder: Recorder | None = None
    """Where the request is recorded."""
    is_over: bool = False
    count: Callable[[RequestAccount, int, float], None] | None = None
    """Is told when it is over: its status, and how many seconds it took."""

    def begin(self, answer_id: str, num_prompt: int) -> None:
        """A generation begins; what an earlier one of the same request left is forgotten."""
        self.answer_id = answer_id
        self.num_prompt = num_prompt
        self.num_cached = self.num_generated = 0
        self.submitted_at, self.queue_seconds = time.monotonic(), None
        self.gaps.begin()
        self.finish_reasons = ()
        self.error = None

    def note(self, output: Output) -> None:
        if output.num_tokens:
            self.num_generated += output.num_tokens
            now = time.monotonic()
            if self.first_token_at is None:
                self.first_token_at = now
            self.gaps.note(output.index, now)
        if self.recorder is not None:
            self.recorder.add_output(output)

    def finish(self, end: Finished, *, is_first_choice: bool) -> None:
        """A choice has ended. Of a prompt's choices the first one says what was cached."""
        if is_first_choice:
            self.num_cached += end.timings.num_cached
        first, submitted = self.first_token_at, self.submitted_at
        if self.queue_seconds is None and first is not None and submitted is not None:
            self.queue_seconds = max(0.0, first - submitted - end.timings.prompt_ms / 1e3)
        is_call = end.num_calls and end.reason is FinishReason.STOP
        reason = "tool_calls" if is_call else end.reason.value
        if reason not in self.finish_reasons:
            self.finish_reasons += (reason,)
        if end.reason is FinishReason.ERROR:
            kind = InvalidRequest if end.is_request_fault else EngineFailed
            self.error = kind(end.error or "the engine failed. Try again.")
        if self.recorder is not None:
            self.recorder.finish_choice(end)


_CURRENT: ContextVar[RequestAccount | None] = ContextVar("llmd_request", default=None)

set_account, reset_account = _CURRENT.set, _CURRENT.reset


def current_account() -> RequestAccount:
    """That of the request that is worked on; where there is none, one that nobody reads."""
    return _CURRENT.get() or RequestAccount("")


def current_request_id() -> str:
    """Of the request that is worked on, in any thread that works on it; "" where there is none, or
    it is over: timers that it left behind are nobody's.
    """
    account = _CURRENT.get()
    return "" if account is None or account.is_over else account.request_id
