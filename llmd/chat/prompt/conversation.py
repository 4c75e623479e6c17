"""A request's messages, tools and keyword arguments as the plain values that templates read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmd.chat.prompt.guard import SpecialTokenGuard, free_markers, rebuilt
from llmd.core.message import Message, Tool, ToolCall

Change = Callable[[str], str]

_TEMPLATE_WORDS = frozenset(
    {"system", "developer", "user", "assistant", "tool", "function"}
    | {"string", "number", "integer", "boolean", "array", "object", "null"}
)
"""Roles and types, which templates compare with: never a client's own words, so never marked."""


@dataclass(frozen=True, slots=True)
class ConversationView:
    """The template's variables, free to be altered by it, and the markers in them: None where the
    client's texts need no guarding.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    template_kwargs: dict[str, Any]
    num_chars: int
    marker: str | None
    end_marker: str | None
    """Occurs in no text; for the caller's own use. None unless asked for."""


@dataclass(slots=True)
class _Inspection:
    """Passes texts through and remembers what they were."""

    guard: SpecialTokenGuard
    texts: list[str] = field(default_factory=list)
    is_suspect: bool = False

    def see(self, text: str) -> str:
        self.texts.append(text)
        self.is_suspect = self.is_suspect or self.guard.suspects(text)
        return text


class ConversationGuard:
    """Makes ConversationViews whose texts cannot become special tokens.

    `strict` guards all that a client sends; `lenient` guards the assistant's own earlier words, in
    which templates look for the markers of thoughts and calls. `source` is the template's.
    Immutable.
    """

    def __init__(
        self, source: str, *, strict: SpecialTokenGuard, lenient: SpecialTokenGuard
    ) -> None:
        self._source = source
        self._strict = strict
        self._lenient = lenient

    def view(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        template_kwargs: Mapping[str, Any],
        *,
        content_parts: bool,
        end_marker: bool = False,
    ) -> ConversationView:
        def build(strict: Change, lenient: Change) -> tuple[Any, Any, Any]:
            return (
                [_message_view(m, strict, lenient, content_parts) for m in messages],
                [rebuilt(tool.definition, _sparing(strict)) for tool in tools] or None,
                rebuilt(dict(template_kwargs), strict),
            )

        strict, lenient = _Inspection(self._strict), _Inspection(self._lenient)
        values = build(strict.see, lenient.see)
        texts = [*strict.texts, *lenient.texts]
        is_suspect = strict.is_suspect or lenient.is_suspect
        if not is_suspect and not end_marker:
            return ConversationView(*values, sum(map(len, texts)), None, None)
        marker, end = free_markers((self._source, *texts), 2)
        if is_suspect:
            values = build(
                lambda text: self._strict.mark(text, marker),
                lambda text: self._lenient.mark(text, marker),
            )
        return ConversationView(*values, sum(map(len, texts)), marker if is_suspect else None, end)


def _message_view(
    message: Message, strict: Change, lenient: Change, content_parts: bool
) -> dict[str, Any]:
    own = lenient if message.role == "assistant" else strict
    content: Any = None if message.content is None else own(message.content)
    if content_parts and content is not None:
        content = [{"type": "text", "text": content}] if content else []
    view = {"role": _sparing(strict)(message.role), "content": content}
    for name in ("name", "tool_call_id"):
        value = getattr(message, name)
        if value is not None:
            view[name] = strict(value)
    if message.reasoning is not None:
        # Templates read a past thought under one of three names.
        reasoning = lenient(message.reasoning)
        view.update(reasoning_content=reasoning, reasoning=reasoning, thinking=reasoning)
    if message.tool_calls:
        view["tool_calls"] = [_call_view(call, strict) for call in message.tool_calls]
    return view


def _sparing(change: Change) -> Change:
    return lambda text: text if text in _TEMPLATE_WORDS else change(text)


def _call_view(call: ToolCall, strict: Change) -> dict[str, Any]:
    function = {"name": strict(call.name), "arguments": rebuilt(call.arguments, strict)}
    view: dict[str, Any] = {"type": "function", "function": function}
    if call.id is not None:
        view["id"] = strict(call.id)
    return view
