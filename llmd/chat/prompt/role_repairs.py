"""Repairs of who speaks when. Each takes the messages and gives them back fit for a template with
these abilities; a template that takes them as they are gets them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from llmd.chat.prompt.abilities import TemplateAbilities
from llmd.core.message import Message

Messages = tuple[Message, ...]

_SEPARATOR = "\n\n"
_SYSTEM_SEPARATOR = "\n"
"""What llama.cpp puts between a system text and the user's, so that its users' prompts stay."""
_FILLER = "OK."
"""Said by the assistant where a template insists on an answer that the client does not have."""


def drop_empty_ending(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """An empty assistant message at the end, as some clients send it to ask for an answer."""
    return messages[:-1] if messages and is_empty_answer(messages[-1]) else messages


def rename_developer(messages: Messages, abilities: TemplateAbilities) -> Messages:
    if abilities.developer:
        return messages
    return tuple(replace(m, role="system") if m.role == "developer" else m for m in messages)


def merge_system(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """Late and several system messages become one at the start."""
    positions = [index for index, message in enumerate(messages) if is_system(message)]
    if not positions or not abilities.system:
        return messages
    num_leading = next((i for i, m in enumerate(messages) if not is_system(m)), len(messages))
    is_late = len(positions) > num_leading
    if (abilities.late_system or not is_late) and (abilities.several_system or num_leading < 2):
        return messages
    systems = [messages[index] for index in positions]
    merged = replace(systems[0], content=join_texts(m.content for m in systems))
    return (merged, *(message for message in messages if not is_system(message)))


def move_system_to_user(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """For templates without a system role: their text opens the first user message."""
    if abilities.system or not any(map(is_system, messages)):
        return messages
    text = join_texts(m.content for m in messages if is_system(m))
    others = [message for message in messages if not is_system(message)]
    first = next((i for i, message in enumerate(others) if message.role == "user"), None)
    if first is None:
        return (Message(role="user", content=text), *others)
    content = join_texts((text, others[first].content), _SYSTEM_SEPARATOR)
    others[first] = replace(others[first], content=content)
    return tuple(others)


def drop_empty_answers(messages: Messages, abilities: TemplateAbilities) -> Messages:
    if abilities.empty_assistant:
        return messages
    return tuple(message for message in messages if not is_empty_answer(message))


def merge_users(messages: Messages, abilities: TemplateAbilities) -> Messages:
    return messages if abilities.users_in_a_row else _merge_role(messages, "user")


def merge_assistants(messages: Messages, abilities: TemplateAbilities) -> Messages:
    return messages if abilities.assistants_in_a_row else _merge_role(messages, "assistant")


def open_with_user(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """An empty user message before a greeting of the assistant's."""
    first = next((i for i, message in enumerate(messages) if not is_system(message)), None)
    if abilities.assistant_first or first is None or messages[first].role != "assistant":
        return messages
    return (*messages[:first], Message(role="user", content=""), *messages[first:])


def answer_after_tool(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """A word of the assistant's between a tool's result and the user's next message."""
    if abilities.user_after_tool:
        return messages
    repaired: list[Message] = []
    has_user = False
    for message in messages:
        if message.role == "user" and has_user and repaired[-1].role == "tool":
            repaired.append(Message(role="assistant", content=_FILLER))
        has_user = has_user or message.role == "user"
        repaired.append(message)
    return tuple(repaired)


def is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def is_empty_answer(message: Message) -> bool:
    is_silent = not (message.content or message.reasoning or message.tool_calls)
    return message.role == "assistant" and is_silent


def join_texts(texts: Iterable[str | None], separator: str = _SEPARATOR) -> str:
    return separator.join(text for text in texts if text)


def _merge_role(messages: Messages, role: str) -> Messages:
    merged: list[Message] = []
    for message in messages:
        if merged and message.role == merged[-1].role == role:
            merged[-1] = _merge(merged[-1], message)
        else:
            merged.append(message)
    return tuple(merged)


def _merge(first: Message, second: Message) -> Message:
    return replace(
        first,
        content=join_texts((first.content, second.content)),
        reasoning=join_texts((first.reasoning, second.reasoning)) or None,
        tool_calls=first.tool_calls + second.tool_calls,
    )
