"""A response as it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RecordState(Enum):
    FINISHED = "finished"
    RUNNING = "running"
    """A daemon still works on it, in the background."""
    LOST = "lost"
    """The daemon that worked on it has ended without finishing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRecord:
    """A response of one tenant. `body` is the Response object and `input_items` the list of what
    its own request brought, both as JSON; `previous_id` names the response that it continues.
    `events` are the bytes of its event stream, empty where none is kept. Times are in seconds
    since the epoch.
    """

    id: str
    tenant: str
    created_at: float
    body: bytes
    input_items: bytes
    previous_id: str | None = None
    events: bytes = b""
    state: RecordState = RecordState.FINISHED
