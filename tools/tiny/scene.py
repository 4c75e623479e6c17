"""What a dialogue is made of: messages, tools, and what evaluation expects of the last answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from values import Values

Message = dict[str, Any]


@dataclass
class Expectation:
    """A check of the last answer: kind is contains, exact, calls, json or free."""

    kind: str = "free"
    value: Any = None


@dataclass
class Dialogue:
    """Messages that end with the assistant's answer, and what that answer must satisfy."""

    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)
    thinking: bool = False
    expect: Expectation = field(default_factory=Expectation)


@dataclass
class Scene:
    """State that the exchanges of one dialogue share; `closing` ends answers from results."""

    values: Values
    user_name: str | None = None
    persona: str | None = None
    closing: str = ""
    messages: list[Message] = field(default_factory=list)
    expect: Expectation = field(default_factory=Expectation)

    @property
    def rng(self) -> random.Random:
        """The random source of this dialogue."""
        return self.values.rng

    def user(self, content: str) -> None:
        """Append what the user says."""
        self.messages.append({"role": "user", "content": content})

    def assistant(
        self,
        content: str | None,
        thought: str,
        calls: list[tuple[str, dict[str, Any]]] | None = None,
    ) -> None:
        """Append what the assistant thinks, says and calls."""
        message: Message = {"role": "assistant", "content": content, "reasoning_content": thought}
        if calls:
            message["tool_calls"] = [
                {"type": "function", "function": {"name": name, "arguments": arguments}}
                for name, arguments in calls
            ]
        self.messages.append(message)

    def tool(self, content: str) -> None:
        """Append a tool's result."""
        self.messages.append({"role": "tool", "content": content})


Exchange = Callable[[Scene], None]


def vary(values: Values, text: str) -> str:
    """Vary the case and the closing mark of what a user writes, never a value within it."""
    if values.chance(0.12) and text[:1].isupper() and text[1:2].islower():
        text = text[0].lower() + text[1:]
    if values.chance(0.12) and text[-1:] in ".?!" and not text.endswith("..."):
        text = text[:-1]
    return text
