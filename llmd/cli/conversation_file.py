"""Messages and tools out of JSON files, as the OpenAI API writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmd.core.message import Message, Tool, ToolCall
from llmd.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Conversation:
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    template_kwargs: dict[str, Any] = field(default_factory=dict)


def read_conversation(source: str) -> Conversation:
    """The conversation in the file `source`, `-` for standard input: a list of messages, or a
    whole request with `messages`, `tools` and `chat_template_kwargs`, whose other fields are passed
    over. Raises InvalidRequest, naming what is wrong and where.
    """
    body = _read_json(source)
    if isinstance(body, list):
        body = {"messages": body}
    fault = _Fault(source)
    fields = fault.holding(body, dict, "the file", "a list of messages, or a chat request")
    messages = fault.holding(fields.get("messages"), list, "messages", "a list of messages")
    kwargs = fields.get("chat_template_kwargs") or {}
    return Conversation(
        tuple(_message(fault, value, f"messages.{at}") for at, value in enumerate(messages)),
        _tools(fault, fields.get("tools") or []),
        fault.holding(kwargs, dict, "chat_template_kwargs", "an object"),
    )


def read_tools(source: str) -> tuple[Tool, ...]:
    """The tools in the file `source`: a list of them, or a request that has one under `tools`."""
    body = _read_json(source)
    return _tools(_Fault(source), body.get("tools") if isinstance(body, dict) else body)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Knows the file for the message of an error."""

    source: str

    def holding(self, value: Any, kind: type[Any], where: str, wanted: str) -> Any:
        """`value`, which must be of that kind."""
        if not isinstance(value, kind):
            raise InvalidRequest(f"{self.source}: {where} is not {wanted}. Make it one.")
        return value

    def text(self, value: Any, where: str) -> Any:
        """`value`, which must be a text or null."""
        return None if value is None else self.holding(value, str, where, "a text")


def _read_json(source: str) -> Any:
    try:
        if source == "-":
            data = sys.stdin.buffer.read()
        else:
            data = Path(source).read_bytes()
        return json.loads(data)
    except OSError as error:
        raise InvalidRequest(f"cannot read {source}: {error.strerror}. Check the path.") from error
    except (ValueError, RecursionError) as error:
        name = "standard input" if source == "-" else source
        raise InvalidRequest(f"{name} is no JSON: {error}. Correct it.") from error


def _message(fault: _Fault, value: Any, where: str) -> Message:
    fields = fault.holding(value, dict, where, "an object")
    calls = fault.holding(fields.get("tool_calls") or [], list, f"{where}.tool_calls", "a list")
    thought = fields.get("reasoning_content") or fields.get("reasoning")
    content = _content(fault, fields.get("content"), f"{where}.content")
    return Message(
        role=fault.holding(fields.get("role"), str, f"{where}.role", "a text"),
        content="" if content is None and not calls else content,
        name=fault.text(fields.get("name"), f"{where}.name"),
        reasoning=fault.text(thought, f"{where}.reasoning_content"),
        tool_calls=tuple(
            _call(fault, call, f"{where}.tool_calls.{at}") for at, call in enumerate(calls)
        ),
        tool_call_id=fault.text(fields.get("tool_call_id"), f"{where}.tool_call_id"),
    )


def _content(fault: _Fault, value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    texts = []
    for at, part in enumerate(fault.holding(value, list, where, "a text or a list of parts")):
        text = part.get("text") if isinstance(part, dict) else part
        texts.append(fault.holding(text, str, f"{where}.{at}", "a part with a text"))
    return "\n".join(texts)


def _call(fault: _Fault, value: Any, where: str) -> ToolCall:
    fields = fault.holding(value, dict, where, "an object")
    function = fault.holding(fields.get("function"), dict, f"{where}.function", "an object")
    arguments = function.get("arguments") or "{}"
    if isinstance(arguments, str):
        arguments = _parsed_arguments(arguments)
    else:
        fault.holding(arguments, dict, f"{where}.function.arguments", "an object")
    return ToolCall(
        id=fault.text(fields.get("id"), f"{where}.id"),
        name=fault.holding(function.get("name"), str, f"{where}.function.name", "a text"),
        arguments=arguments,
    )


def _parsed_arguments(text: str) -> dict[str, Any] | str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _tools(fault: _Fault, value: Any) -> tuple[Tool, ...]:
    definitions: Sequence[Any] = fault.holding(value, list, "tools", "a list of tools")
    tools = []
    for at, definition in enumerate(definitions):
        function = definition.get("function") if isinstance(definition, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        wanted = "a text ({'type': 'function', 'function': {'name': ...}})"
        tools.append(
            Tool(
                name=fault.holding(name, str, f"tools.{at}.function.name", wanted),
                definition=definition,
            )
        )
    return tuple(tools)
