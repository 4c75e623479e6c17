"""What the daemon and the caller's key make of a request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from llmd.api.state import ApiState
from llmd.core.embedding import EmbedRequest, RerankRequest
from llmd.core.request import GenerateRequest
from llmd.serving.account import current_account

Wanted = TypeVar("Wanted", GenerateRequest, EmbedRequest, RerankRequest)


def admitted(state: ApiState, wanted: Wanted) -> Wanted:
    """The request as it is worked on. Its priority counts from that of its key, and may only be
    lower; an answer gets no more tokens than any may have, and ends when its time is over.
    """
    changes: dict[str, Any] = {}
    if state.caller is not None:
        changes["priority"] = state.caller.key.priority + min(0, wanted.priority)
    if isinstance(wanted, GenerateRequest):
        changes["deadline"] = deadline_of(state)
        most = state.settings.max_output_tokens
        if most:
            asked = wanted.max_tokens
            changes["max_tokens"] = most if asked is None else min(asked, most)
    return replace(wanted, **changes)


def deadline_of(state: ApiState) -> float | None:
    """When the time of the request at hand is over, in seconds of time.monotonic()."""
    timeout = state.settings.request_timeout
    return current_account().started_at + timeout if timeout else None
