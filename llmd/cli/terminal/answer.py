"""An answer while it comes: the events of its stream, put together and shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from llmd.cli.terminal.screen import Screen

Event = dict[str, Any]

LONG_PROMPT_MS = 300
"""Milliseconds after which a prompt that is still being read is worth a word."""


@dataclass(slots=True)
class Answer:
    """What came of an answer so far. Texts are kept in pieces, as they come by the thousand."""

    pieces: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    seconds_to_first: float | None = None

    @property
    def text(self) -> str:
        """What the model said; of an answer that is a call alone, the call."""
        return "".join(self.pieces) or "\n".join(self.call_lines())

    def call_lines(self) -> list[str]:
        """Its tool calls as a person reads them: name(arguments)."""
        return [f"{name}({''.join(arguments)})" for name, *arguments in self.calls.values()]

    def stats(self, context_length: int | None) -> str:
        """Its numbers in one line; empty where the daemon told none."""
        parts = []
        if self.seconds_to_first is not None:
            parts.append(f"first token after {self.seconds_to_first:.2f} s")
        if self.timings:
            parts.append(
                f"prompt {self.timings['prompt_n']} tokens at "
                f"{self.timings['prompt_per_second']:.0f}/s "
                f"({self.timings['cache_n']} more were cached)"
            )
            parts.append(
                f"answer {self.timings['predicted_n']} tokens at "
                f"{self.timings['predicted_per_second']:.1f}/s"
            )
        total = self.usage.get("total_tokens")
        if total is not None:
            of = f" of {context_length}" if context_length else ""
            parts.append(f"context {total}{of} tokens")
        return "; ".join(parts)


def follow(
    events: Iterable[Event | None],
    screen: Screen,
    answer: Answer,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show the events of a stream and add them to `answer`, to the stream's end or until it raises.
    Tool calls are shown when they are whole.
    """
    start = clock()
    for event in events:
        if event is None:
            screen.status("waiting for the model ...")
            continue
        if not event:
            screen.catch_up()
            continue
        answer.usage = event.get("usage") or answer.usage
        answer.timings = event.get("timings") or answer.timings
        progress = event.get("prompt_progress")
        if progress and progress["time_ms"] >= LONG_PROMPT_MS:
            screen.status(f"reading {progress['processed']} of {progress['total']} tokens ...")
        for choice in event.get("choices") or ():
            answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
            delta = choice.get("delta") or {}
            if _show(delta, screen, answer) and answer.seconds_to_first is None:
                answer.seconds_to_first = clock() - start
    for line in answer.call_lines():
        screen.line(f"calls {line}")


def _show(delta: Event, screen: Screen, answer: Answer) -> bool:
    """Whether there was anything of the model's in it."""
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if thought:
        answer.thoughts.append(thought)
        screen.thought(thought)
    text = delta.get("content")
    if text:
        answer.pieces.append(text)
        screen.text(text)
    calls = delta.get("tool_calls") or []
    for call in calls:
        function = call.get("function") or {}
        parts = answer.calls.setdefault(call.get("index", 0), [function.get("name") or ""])
        parts.append(function.get("arguments") or "")
    return bool(thought or text or calls)
