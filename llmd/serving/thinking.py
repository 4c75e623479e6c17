"""How long a chat's thoughts may be, in the terms of the engine."""

from __future__ import annotations

from collections.abc import Callable

from llmd.chat.answer.syntax import MessageSyntax
from llmd.chat.format.chat_format import ChatFormat
from llmd.core.request import ChatPrompt, Prompt
from llmd.engine.thought import ThoughtLimits


def thought_limits(
    chat_format: ChatFormat,
    prompt: Prompt,
    *,
    in_thought: bool,
    encode: Callable[[str], list[int]],
) -> ThoughtLimits | None:
    """None where the model marks no thoughts, or a prompt is no chat. `in_thought`: the prompt
    ends inside a thought. `encode` gives the tokens of a template's own text.
    """
    thought = chat_format.syntax.thought
    if thought is None or not isinstance(prompt, ChatPrompt):
        return None
    syntax, budget = chat_format.syntax, prompt.thinking.budget
    calls = syntax.calls if isinstance(syntax, MessageSyntax) and prompt.tools else None
    return ThoughtLimits(
        open=thought.open,
        close=thought.close,
        is_open=in_thought,
        ends=calls.openers if calls is not None and calls.ends_thoughts else (),
        closing=() if budget is None else tuple(encode(thought.closing)),
        budget=budget,
    )
