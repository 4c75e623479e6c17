"""What to tell a client whose conversation a template refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmd.core.message import Message, Tool

MAX_WORDS = 500

_CURE = "Change {subject}, or start llmd with a chat template that takes it: --chat-template FILE."

Words = Callable[[Sequence[Message], Sequence[Tool], Mapping[str, Any]], str | None]
"""Renders, and says how the template fails; None when it does not."""


class TemplateFault(Exception):
    """A rendering that failed; `words` are the template's or Python's own. One that `is_costly`
    ran into its budget, and is not to be tried again.
    """

    def __init__(self, words: str, *, is_costly: bool = False) -> None:
        super().__init__(words)
        self.is_costly = is_costly
        self.words = words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}..."


def describe_fault(
    fault: TemplateFault,
    words: Words,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    kwargs: Mapping[str, Any],
) -> tuple[str, str]:
    """A message that ends with the cure, and the request's field at fault.

    Renders again without each part of the request, and with ever other beginnings of the
    conversation: 4 + log2(messages) times at most.
    """
    if fault.is_costly:
        param, subject = "messages", "the messages"
    elif kwargs and words(messages, tools, {}) is None:
        param, subject = "chat_template_kwargs", "chat_template_kwargs"
    elif tools and words(messages, (), kwargs) is None:
        param, subject = "tools", "the tools"
    else:
        index = _first_failing(fault.words, words, messages, tools, kwargs)
        if index is None:
            param, subject = "messages", "the messages"
        else:
            param = f"messages.{index}"
            subject = f"message {index} (role {messages[index].role})"
    stop = "" if fault.words.endswith((".", "!", "?")) else "."
    what = f"The model's chat template refused {subject}: {fault.words}{stop}"
    return f"{what} {_CURE.format(subject=subject)}", param


def _first_failing(
    original: str,
    words: Words,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    kwargs: Mapping[str, Any],
) -> int | None:
    """The last message of the shortest beginning that fails in the same words, found by bisection:
    templates read from the front, so that longer beginnings fail alike.
    """
    low, high = 0, len(messages)
    while high - low > 1:
        middle = (low + high) // 2
        if words(messages[:middle], tools, kwargs) == original:
            high = middle
        else:
            low = middle
    if not messages or (low == 0 and len(messages) > 1 and words([], tools, kwargs) == original):
        return None
    return high - 1
