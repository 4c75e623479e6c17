"""A conversation as every dialect parses it to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the assistant made in an earlier turn.

    `arguments` is the object that the client's JSON text parsed to, or that text itself where it
    is not a JSON object: an old bad call must not make the conversation unusable.
    """

    id: str | None
    name: str
    arguments: dict[str, Any] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. `role` is system, developer, user, assistant, tool or any other role that the
    client sends; which of them a model accepts is the template's business.

    `content` is None only beside tool calls. Text parts arrive here already joined.
    """

    role: str
    content: str | None
    name: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call. `definition` is the client's own JSON object, as
    `{"type": "function", "function": {...}}`: templates print it, so its key order is kept.
    """

    name: str
    definition: dict[str, Any] = field(hash=False)
