"""Chats that may lose their beginning to fit the context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from llmd.core.message import Message
from llmd.core.request import ChatPrompt, GenerateRequest
from llmd.errors import ContextLengthExceeded
from llmd.registry.registry import ModelRegistry
from llmd.serving.counting import count_prompt_tokens
from llmd.serving.generation import Generation, start_generation

STEP = 4
"""About a quarter of the context goes at once, so that the turns after this one find the same
beginning in the cache, and have room.
"""

ANSWER_TOKENS = 1024
"""Left for an answer whose length the client does not limit; at most a quarter of the context."""

MAX_TOKEN_BYTES = 8

_INSTRUCTIONS = ("system", "developer")


async def start_truncated(registry: ModelRegistry, request: GenerateRequest) -> Generation:
    """`start_generation` of a chat, without its oldest messages as far as it has to be to leave
    room for an answer. What instructs at its beginning stays, and so does the last message; a
    tool's result never stays without its call, nor the answer to a question that went. Raises what
    that raises: ContextLengthExceeded for what cannot be shortened enough.
    """
    (prompt,) = request.prompts
    assert isinstance(prompt, ChatPrompt)
    try:
        generation = await start_generation(registry, request)
    except ContextLengthExceeded as error:
        num_tokens, context_size = error.num_prompt_tokens, error.context_size
    else:
        (num_tokens,), context_size = generation.num_prompt_tokens, generation.context_size
    room = min(request.max_tokens or ANSWER_TOKENS, context_size // STEP)
    most = context_size - max(1, room)
    if num_tokens <= most:
        return generation
    if num_tokens < context_size:
        generation.close()
    return await start_generation(
        registry, await _shorten(registry, request, prompt, num_tokens, context_size, most)
    )


async def _shorten(
    registry: ModelRegistry,
    request: GenerateRequest,
    prompt: ChatPrompt,
    num_tokens: int,
    context_size: int,
    most: int,
) -> GenerateRequest:
    """With the longest of the shorter chats that has at most `most` tokens, else the shortest."""
    num_bytes = sum(map(_num_bytes, prompt.messages))
    step = context_size // STEP * token_bytes(num_bytes, num_tokens)
    chats = [prompt.messages, *without_oldest(prompt.messages, step)]
    requests = [replace(request, prompts=(replace(prompt, messages=chat),)) for chat in chats]
    low, high = min(1, len(requests) - 1), len(requests) - 1
    while low < high:
        middle = (low + high) // 2
        if await count_prompt_tokens(registry, requests[middle]) <= most:
            high = middle
        else:
            low = middle + 1
    return requests[low]


def token_bytes(num_bytes: int, num_tokens: int) -> int:
    """Bytes of text per token, as a power of two: so it stays the same from turn to turn."""
    return 1 << round(math.log2(min(max(1.0, num_bytes / num_tokens), MAX_TOKEN_BYTES)))


def without_oldest(messages: Sequence[Message], step: int) -> list[tuple[Message, ...]]:
    """Ever shorter chats: without the oldest messages up to the first place behind `step` bytes of
    them, behind twice as many, and so on, down to the shortest that there is. Where one begins
    depends on what stood before it alone, so what is said later does not move it.
    """
    start = next((i for i, m in enumerate(messages) if m.role not in _INSTRUCTIONS), len(messages))
    begins = [i for i in range(start + 1, len(messages)) if _may_be_first(messages[i])]
    num_dropped, num_wanted = 0, step
    beginning = start
    found = []
    for i in begins:
        num_dropped += sum(map(_num_bytes, messages[beginning:i]))
        beginning = i
        if num_dropped >= num_wanted or i == begins[-1]:
            found.append((*messages[:start], *messages[i:]))
            num_wanted = (num_dropped // step + 1) * step
    return found


def _may_be_first(message: Message) -> bool:
    """Whether it says something without what stood before it. A call does, so that the long work of
    an agent on one question can be cut too.
    """
    return message.role != "tool" and (message.role != "assistant" or bool(message.tool_calls))


def _num_bytes(message: Message) -> int:
    calls = sum(len(str(call.arguments)) + len(call.name) for call in message.tool_calls)
    texts = (message.content or "", message.reasoning or "")
    return calls + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
