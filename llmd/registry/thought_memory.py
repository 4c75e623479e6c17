"""Thoughts that clients do not send back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from llmd.core.message import Message

MAX_CALLS = 4096
MAX_CHARACTERS = 16 << 20


class ThoughtMemory:
    """What a model thought before it called tools. Many clients send calls back without their
    thoughts, and then the model loses its thread, and the prompt its computed prefix. Event loop
    only; what was used longest ago is forgotten first.
    """

    def __init__(self, *, max_calls: int = MAX_CALLS, max_characters: int = MAX_CHARACTERS) -> None:
        self._max_calls = max_calls
        self._max_characters = max_characters
        self._num_characters = 0
        self._thoughts: OrderedDict[tuple[str, str], str] = OrderedDict()

    def keep(self, tenant: str, call_ids: Iterable[str], thoughts: str) -> None:
        """Remember what a tenant's model thought before it made these calls."""
        if not thoughts.strip():
            return
        for call_id in call_ids:
            self._forget((tenant, call_id))
            self._thoughts[tenant, call_id] = thoughts
            self._num_characters += len(thoughts)
        while len(self._thoughts) > self._max_calls or self._num_characters > self._max_characters:
            self._forget(next(iter(self._thoughts)))

    def put_back(self, tenant: str, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages, those with calls and without thoughts given theirs again."""
        return tuple(
            replace(message, reasoning=self._find(tenant, message))
            if message.tool_calls and not message.reasoning
            else message
            for message in messages
        )

    def _find(self, tenant: str, message: Message) -> str | None:
        for call in message.tool_calls:
            key = (tenant, call.id or "")
            if key in self._thoughts:
                self._thoughts.move_to_end(key)
                return self._thoughts[key]
        return None

    def _forget(self, key: tuple[str, str]) -> None:
        self._num_characters -= len(self._thoughts.pop(key, ""))
