"""What an answer is made of, in the order in which the model writes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """More of the content."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """More of the reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call of the function `name`, whole; `id` is None where the model's format has none."""

    name: str
    id: str | None


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More JSON text of the newest call's arguments."""

    text: str


Piece = Text | Thought | CallStarted | CallArguments
