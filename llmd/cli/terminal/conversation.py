"""A conversation with one model, as the requests that carry it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """What each request asks for; None leaves it to the daemon."""

    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(slots=True)
class Conversation:
    """The messages so far. `think` None leaves thinking to the model."""

    model: str
    options: Options = field(default_factory=Options)
    system: str = ""
    think: bool | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, text: str) -> dict[str, Any]:
        """Add the user's message; the request that asks for its answer."""
        # What a terminal of another encoding sent is no Unicode, and JSON holds nothing else.
        text = text.encode("utf-8", "replace").decode("utf-8")
        self.messages.append({"role": "user", "content": text})
        system = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {
            "model": self.model,
            "messages": system + self.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
            "temperature": self.options.temperature,
            "max_tokens": self.options.max_tokens,
        }
        if self.think is not None:
            body["chat_template_kwargs"] = {"enable_thinking": self.think}
        return {key: value for key, value in body.items() if value is not None}

    def answer(self, text: str, thoughts: str = "") -> None:
        """Add the model's message, whole or as far as it came."""
        message = {"role": "assistant", "content": text}
        if thoughts:
            message["reasoning_content"] = thoughts
        self.messages.append(message)

    def take_back(self) -> None:
        """Forget the user's last message if it got no answer."""
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages.pop()

    def clear(self) -> None:
        """Forget all messages; the system prompt stays."""
        self.messages.clear()
