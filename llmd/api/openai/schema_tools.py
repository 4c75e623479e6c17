"""The tools of a chat request, and which of them the model is to call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from llmd.api.json_body import JsonModel
from llmd.core.message import Tool
from llmd.core.request import ToolChoice, ToolChoiceMode
from llmd.errors import InvalidRequest, Unsupported

Mode = Literal["auto", "none", "required"]

_UNWRITABLE = re.compile(r"""[\s\x00-\x1f\x7f"'\\<>{}()\[\]]""")
"""Not in names: where models write them bare, these end a name."""


class FunctionName(JsonModel):
    name: str


class AllowedFunction(JsonModel):
    type: Literal["function"] = "function"
    function: FunctionName


class AllowedTools(JsonModel):
    mode: Literal["auto", "required"] = "auto"
    tools: list[AllowedFunction]


class ToolChoiceObject(JsonModel):
    """One function, or a selection of them."""

    type: str = "function"
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None


def read_tools(
    definitions: Sequence[dict[str, Any]], choice: Mode | ToolChoiceObject
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that the model sees, and what it is to do with them. With "none" it sees none.
    Raises InvalidRequest or Unsupported, naming the field.
    """
    tools = tuple(_read_tool(index, definition) for index, definition in enumerate(definitions))
    _check_names(tools)
    if isinstance(choice, str):
        mode = ToolChoiceMode(choice)
        if mode is ToolChoiceMode.REQUIRED and not tools:
            raise InvalidRequest(
                "tool_choice 'required' needs tools to choose from. Send 'tools'.",
                param="tool_choice",
            )
        return () if mode is ToolChoiceMode.NONE else tools, ToolChoice(mode=mode)
    if choice.type == "allowed_tools" and choice.allowed_tools is not None:
        allowed = choice.allowed_tools
        names = [each.function.name for each in allowed.tools]
        for index, name in enumerate(names):
            _check_known(name, tools, f"tool_choice.allowed_tools.tools.{index}.function.name")
        chosen = tuple(tool for tool in tools if tool.name in names)
        return read_choice_of(chosen, allowed.mode)
    if choice.type == "function" and choice.function is None:
        raise InvalidRequest(
            "tool_choice names no function. Send {'type': 'function', 'function': {'name': ...}}.",
            param="tool_choice.function.name",
        )
    if choice.type != "function" or choice.function is None:
        raise Unsupported(
            f"a tool_choice of type {choice.type!r} is not known here. Send 'auto', 'none', "
            "'required', or {'type': 'function', 'function': {'name': ...}}.",
            param="tool_choice",
        )
    name = choice.function.name
    _check_known(name, tools, "tool_choice.function.name")
    return tools, ToolChoice(mode=ToolChoiceMode.NAMED, name=name)


def read_choice_of(
    tools: tuple[Tool, ...], mode: Literal["auto", "required"]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """A selection of tools; of none, nothing can be required."""
    if not tools and mode == "required":
        raise InvalidRequest(
            "tool_choice requires a call, and allows no tool. Allow at least one.",
            param="tool_choice.allowed_tools.tools",
        )
    return tools, ToolChoice(mode=ToolChoiceMode(mode))


def _read_tool(index: int, definition: dict[str, Any]) -> Tool:
    kind = definition.get("type", "function")
    if kind != "function":
        raise Unsupported(
            f"tools of type {kind!r} cannot run here. Send tools of type 'function'.",
            param=f"tools.{index}.type",
        )
    function = definition.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidRequest(
            "the tool has no name. Describe it as {'function': {'name': ..., 'parameters': ...}}.",
            param=f"tools.{index}.function.name",
        )
    if found := _UNWRITABLE.search(name):
        raise InvalidRequest(
            f"a tool's name cannot hold {found.group()!r}. Use letters, digits, '_' and '-'.",
            param=f"tools.{index}.function.name",
        )
    assert isinstance(function, dict)
    if not isinstance(function.get("parameters", {}), dict | None):
        raise InvalidRequest(
            f"the parameters of the tool {name!r} are no JSON schema. Send an object.",
            param=f"tools.{index}.function.parameters",
        )
    return Tool(name=name, definition=definition)


def _check_names(tools: Sequence[Tool]) -> None:
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in seen:
            raise InvalidRequest(
                f"two tools are named {tool.name!r}, so a call could not be told apart. Give each "
                "its own name.",
                param=f"tools.{index}.function.name",
            )
        seen.add(tool.name)


def _check_known(name: str, tools: Sequence[Tool], param: str) -> None:
    if all(tool.name != name for tool in tools):
        known = ", ".join(repr(tool.name) for tool in tools) or "none"
        raise InvalidRequest(
            f"tool_choice names {name!r}, which is not among the tools ({known}). Send it in "
            "'tools', or choose one of them.",
            param=param,
        )
