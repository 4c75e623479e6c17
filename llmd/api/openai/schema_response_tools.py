"""The tools of a Responses request, which are flat, and its choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from llmd.api.json_body import JsonModel
from llmd.api.openai.schema_tools import (
    AllowedFunction,
    AllowedTools,
    FunctionName,
    Mode,
    ToolChoiceObject,
    read_tools,
)
from llmd.core.message import Tool
from llmd.core.request import ToolChoice
from llmd.errors import InvalidRequest, LlmdError, Unsupported


class NamedTool(JsonModel):
    type: str = "function"
    name: str | None = None


class ResponseToolChoice(JsonModel):
    """One function, or a selection of tools."""

    type: str
    name: str | None = None
    function: FunctionName | None = None
    """As a chat request has it; clients mix the two up."""
    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedTool] = []

    def encode(self) -> dict[str, Any]:
        """As a Response shows it."""
        if self.type == "allowed_tools":
            tools = [{"type": tool.type, "name": tool.name} for tool in self.tools]
            return {"type": self.type, "mode": self.mode, "tools": tools}
        return {"type": self.type, "name": self.tool_name}

    @property
    def tool_name(self) -> str | None:
        return self.name or (self.function.name if self.function else None)


class ResponseTools:
    """Function tools are offered to the model. Those of other kinds, such as web_search, would run
    at OpenAI: clients send them along with their own, so they are skipped.
    """

    def __init__(self, definitions: Sequence[dict[str, Any]]) -> None:
        self._indices = [
            index
            for index, each in enumerate(definitions)
            if each.get("type", "function") == "function"
        ]
        self._definitions = [_flat(definitions[index]) for index in self._indices]

    def encode(self) -> list[dict[str, Any]]:
        """As a Response shows them: all fields that an SDK may look for."""
        return [
            {"description": None, "parameters": None, "strict": False, **definition}
            for definition in self._definitions
        ]

    def read(self, choice: Mode | ResponseToolChoice) -> tuple[tuple[Tool, ...], ToolChoice]:
        """As `read_tools`, whose errors come out in this API's paths."""
        for index, tool in zip(self._indices, self._definitions, strict=True):
            if not isinstance(tool.get("name"), str) or not tool["name"]:
                raise InvalidRequest(
                    "the tool has no name. Describe it as {'type': 'function', 'name': ..., "
                    "'parameters': ...}.",
                    param=f"tools.{index}.name",
                )
        nested = [
            {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
            for tool in self._definitions
        ]
        try:
            return read_tools(nested, choice if isinstance(choice, str) else _nest(choice))
        except InvalidRequest as error:
            self.rename(error)
            raise

    def rename(self, error: LlmdError) -> None:
        """Let an error that names a field of a chat request name that of this one: its tools are
        flat, and others stand between them.
        """
        old = error.param or ""
        parts = old.split(".")
        if parts[0] == "messages":
            parts = ["input"]
        elif parts[0] == "tools" and len(parts) > 1 and parts[1].isdigit():
            index = self._indices[int(parts[1])]
            parts = ["tools", str(index), *(part for part in parts[2:] if part != "function")]
        elif parts[0] == "tool_choice":
            parts = [part for part in parts if part not in {"function", "allowed_tools"}]
        else:
            return
        error.param = ".".join(parts)
        if parts[0] == "tools":
            error.message = error.message.replace(old, error.param)


def _nest(choice: ResponseToolChoice) -> ToolChoiceObject:
    if choice.type == "allowed_tools":
        named = [
            AllowedFunction(function=FunctionName(name=tool.name))
            for tool in choice.tools
            if tool.type == "function" and tool.name
        ]
        allowed = AllowedTools(mode=choice.mode, tools=named)
        return ToolChoiceObject(type="allowed_tools", allowed_tools=allowed)
    if choice.type != "function" or choice.tool_name is None:
        raise Unsupported(
            f"a tool_choice of type {choice.type!r} is not known here. Send 'auto', 'none', "
            "'required', or {'type': 'function', 'name': ...}.",
            param="tool_choice",
        )
    return ToolChoiceObject(type="function", function=FunctionName(name=choice.tool_name))


def _flat(definition: dict[str, Any]) -> dict[str, Any]:
    """Without nulls; one in the shape of a chat request is understood too."""
    function = definition.get("function")
    fields = function if isinstance(function, dict) else definition
    known = {key: field for key, field in fields.items() if field is not None}
    return {"type": "function"} | known
