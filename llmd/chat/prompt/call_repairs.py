"""Repairs of tool calls and their results. Nothing of them may be lost: what a template cannot
write becomes text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from llmd.chat.prompt.abilities import IdForm, TemplateAbilities
from llmd.chat.prompt.role_repairs import Messages, join_texts
from llmd.core.message import Message, ToolCall

_NINE_ALPHANUMERICS = re.compile(r"[A-Za-z0-9]{9}")


def name_results(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """Results without a name get their call's: some templates write it."""
    names: dict[str | None, str] = {}
    named: list[Message] = []
    for message in messages:
        names.update((call.id, call.name) for call in message.tool_calls)
        if message.role == "tool" and message.name is None:
            message = replace(message, name=names.get(message.tool_call_id))
        named.append(message)
    return tuple(named)


def sort_results(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """Results in the order of their calls, for a template that does not show which is whose."""
    if abilities.call_ids or abilities.call_shape is None:
        return messages
    ordered = list(messages)
    for start, message in enumerate(messages):
        ids = [call.id for call in message.tool_calls]
        end = start + 1
        while end < len(messages) and messages[end].role == "tool":
            end += 1
        results = messages[start + 1 : end]
        if all(result.tool_call_id in ids for result in results):
            ordered[start + 1 : end] = sorted(results, key=lambda r: ids.index(r.tool_call_id))
    return tuple(ordered)


def rewrite_ids(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """Ids in the form that the template asks for, the same in call and result."""
    shape = abilities.call_shape
    if shape is None or shape.id_form is IdForm.ANY:
        return messages
    new_id = _FORMS[shape.id_form]
    new_ids: dict[str | None, str] = {}
    unanswered: list[str] = []
    num_calls = 0
    repaired: list[Message] = []
    for message in messages:
        calls: list[ToolCall] = []
        for call in message.tool_calls:
            fresh = new_id(call, num_calls)
            num_calls += 1
            new_ids[call.id] = fresh
            unanswered.append(fresh)
            calls.append(replace(call, id=fresh))
        message = replace(message, tool_calls=tuple(calls))
        if message.role == "tool":
            known = new_ids.get(message.tool_call_id) if message.tool_call_id else None
            answered = known or (unanswered[0] if unanswered else new_id(_stray(message), 0))
            if answered in unanswered:
                unanswered.remove(answered)
            message = replace(message, tool_call_id=answered)
        repaired.append(message)
    return tuple(repaired)


def join_thought_and_content(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """For a template that takes only one of them beside calls."""
    if abilities.thought_beside_content_and_calls:
        return messages
    return tuple(
        replace(m, content="", reasoning=join_texts((m.reasoning, m.content)))
        if m.tool_calls and m.reasoning and m.content
        else m
        for m in messages
    )


def write_calls_as_text(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """Calls in the form that Hermes models write, for a template that knows none."""
    if abilities.call_shape is not None:
        return messages
    return tuple(
        replace(m, content=_with_calls(m), tool_calls=()) if m.tool_calls else m for m in messages
    )


def write_results_as_user(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """Results become text where the template knows no results, or none without their call."""
    if abilities.tool_role and abilities.orphan_result:
        return messages
    repaired: list[Message] = []
    follows_calls = False
    for message in messages:
        if message.role != "tool":
            follows_calls = bool(message.tool_calls)
        elif not (abilities.tool_role and follows_calls):
            text = f"<tool_response>\n{message.content or ''}\n</tool_response>"
            message = Message(role="user", content=text)
        repaired.append(message)
    return tuple(repaired)


def fill_null_content(messages: Messages, abilities: TemplateAbilities) -> Messages:
    return tuple(
        replace(m, content="")
        if m.content is None and not (m.tool_calls and abilities.null_content)
        else m
        for m in messages
    )


def split_content(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """Content beside calls becomes a message of its own where the template would drop it."""
    if abilities.content_beside_calls or not abilities.content_before_calls:
        return messages
    return tuple(part for message in messages for part in _split_content(message))


def split_calls(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """One call a message, each followed by its result, where the template writes only one."""
    if abilities.parallel_calls or not abilities.calls_one_by_one:
        return messages
    repaired: list[Message] = []
    waiting = list(messages)
    while waiting:
        message = waiting.pop(0)
        if len(message.tool_calls) < 2:
            repaired.append(message)
            continue
        for position, call in enumerate(message.tool_calls):
            content, reasoning = (
                (message.content, message.reasoning)
                if position == 0
                else (None if message.content is None else "", None)
            )
            repaired.append(
                replace(message, content=content, reasoning=reasoning, tool_calls=(call,))
            )
            result = _result_of(call, waiting)
            if result is not None:
                waiting.remove(result)
                repaired.append(result)
    return tuple(repaired)


def empty_content_to_null(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """For a template that writes calls only where content is null."""
    shape = abilities.call_shape
    if shape is None or shape.content is not None:
        return messages
    return tuple(replace(m, content=m.content or None) if m.tool_calls else m for m in messages)


def fit_arguments(messages: Messages, abilities: TemplateAbilities) -> Messages:
    """Arguments as objects or as JSON text, whichever the template writes well."""
    shape = abilities.call_shape
    if shape is None:
        return messages

    def fit(call: ToolCall) -> ToolCall:
        arguments: dict[str, Any] | str = call.arguments
        if shape.has_text_arguments:
            if isinstance(arguments, dict):
                arguments = json.dumps(arguments, ensure_ascii=False)
        elif isinstance(arguments, str) and not abilities.broken_arguments:
            arguments = {"arguments": arguments} if arguments.strip() else {}
        return replace(call, arguments=arguments)

    return tuple(replace(m, tool_calls=tuple(map(fit, m.tool_calls))) for m in messages)


def _nine_alphanumerics(call: ToolCall, number: int) -> str:
    if call.id is not None and _NINE_ALPHANUMERICS.fullmatch(call.id):
        return call.id
    # A hash keeps the id from one turn to the next, and with it the cached prefix.
    return hashlib.sha256((call.id or f"call {number}").encode()).hexdigest()[:9]


def _function_and_number(call: ToolCall, number: int) -> str:
    return f"functions.{call.name}:{number}"


_FORMS: dict[IdForm, Callable[[ToolCall, int], str]] = {
    IdForm.NINE_ALPHANUMERICS: _nine_alphanumerics,
    IdForm.FUNCTION_AND_NUMBER: _function_and_number,
}


def _stray(result: Message) -> ToolCall:
    return ToolCall(id=result.tool_call_id, name=result.name or "unknown", arguments={})


def _with_calls(message: Message) -> str:
    texts = [message.content] if message.content else []
    for call in message.tool_calls:
        value = {"name": call.name, "arguments": call.arguments}
        texts.append(f"<tool_call>\n{json.dumps(value, ensure_ascii=False)}\n</tool_call>")
    return "\n".join(texts)


def _split_content(message: Message) -> Iterator[Message]:
    if message.content and message.tool_calls:
        yield replace(message, tool_calls=())
        message = replace(message, content="", reasoning=None)
    yield message


def _result_of(call: ToolCall, following: list[Message]) -> Message | None:
    """The call's result among the tool messages that follow at once."""
    for message in following:
        if message.role != "tool":
            return None
        if message.tool_call_id == call.id:
            return message
    return None
