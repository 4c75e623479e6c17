"""A whole chat message, put together of its events."""

from __future__ import annotations

from typing import Any, assert_never

from llmd.core.event import (
    Event,
    Finished,
    PromptAdvanced,
    PromptEcho,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from llmd.core.output import TokenLogprob


class ChoiceMessage:
    """One choice while its events come in."""

    def __init__(self) -> None:
        self.logprobs: list[TokenLogprob] = []
        self.finished: Finished | None = None
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[tuple[ToolCallStarted, list[str]]] = []

    def add(self, event: Event) -> None:
        match event:
            case TextDelta(text=text):
                self._texts.append(text)
                self.logprobs += event.logprobs
            case ReasoningDelta(text=text):
                self._thoughts.append(text)
                self.logprobs += event.logprobs
            case ToolCallStarted():
                self._calls.append((event, []))
                self.logprobs += event.logprobs
            case ToolCallDelta(call=call, arguments=arguments):
                self._calls[call][1].append(arguments)
                self.logprobs += event.logprobs
            case Finished():
                self.finished = event
            case PromptEcho() | PromptAdvanced():
                pass
            case _:
                assert_never(event)

    def encode(self) -> dict[str, Any]:
        """OpenAI's message. Beside calls, no text is null, as OpenAI has it."""
        text = "".join(self._texts)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        if self._calls:
            message["content"] = text or None
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(arguments)},
                }
                for call, arguments in self._calls
            ]
        return message
