"""Chats that may lose their beginning to fit the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmd.core.message import Message
from llmd.core.request import ChatPrompt, GenerateRequest
from llmd.errors import ContextLengthExceeded
from llmd.registry.registry import ModelRegistry
from llmd.serving.generation import Generation, start_generation

STEP = 4
"""A quarter of the context goes at once, so that the turns after this one find the same beginning
in the cache, and have room.
"""

_INSTRUCTIONS = ("system", "developer")


async def start_truncated(registry: ModelRegistry, request: GenerateRequest) -> Generation:
    """`start_generation` of a chat, without its oldest messages as far as it has to be. What
    instructs at its beginning stays, and so does the last message; a tool's result never stays
    without its call. Raises what that raises: ContextLengthExceeded for what cannot be shortened
    enough.
    """
    try:
        return await start_generation(registry, request)
    except ContextLengthExceeded as error:
        too_long = error
    (prompt,) = request.prompts
    assert isinstance(prompt, ChatPrompt)
    quarter = max(1, too_long.context_size // STEP)
    num_tokens = too_long.num_prompt_tokens
    num_steps = (num_tokens - too_long.context_size) // quarter + 1
    num_left = len(prompt.messages)
    while num_left > 1:
        # Characters stand for tokens, so that the first guess may drop too little.
        share = num_steps * quarter / num_tokens
        messages = without_oldest(prompt.messages, share)
        if len(messages) < num_left:
            num_left = len(messages)
            shorter = replace(request, prompts=(replace(prompt, messages=messages),))
            try:
                return await start_generation(registry, shorter)
            except ContextLengthExceeded as error:
                too_long = error
        if share >= 1:
            break
        num_steps += 1
    raise too_long


def without_oldest(messages: Sequence[Message], share: float) -> tuple[Message, ...]:
    """The messages without the oldest ones that make up at least `share` of their text."""
    start = next((i for i, m in enumerate(messages) if m.role not in _INSTRUCTIONS), len(messages))
    num_wanted = share * sum(map(_num_characters, messages))
    num_dropped = 0
    first = start
    for i in range(start, len(messages)):
        if messages[i].role != "tool":
            first = i
            if num_dropped >= num_wanted:
                break
        num_dropped += _num_characters(messages[i])
    return (*messages[:start], *messages[first:])


def _num_characters(message: Message) -> int:
    calls = sum(len(str(call.arguments)) + len(call.name) for call in message.tool_calls)
    return len(message.content or "") + len(message.reasoning or "") + calls
