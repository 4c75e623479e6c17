"""Tool schemas as agent SDKs write them, and argument values by slot."""

from __future__ import annotations

from typing import Any

from toolbox import Slot, Tool
from values import Values


def property_of(slot: Slot) -> dict[str, Any]:
    """Return the JSON schema of one argument without words."""
    schema: dict[str, Any] = {"type": slot.type}
    if slot.type == "array":
        schema["items"] = {"type": "string"}
    return schema


def property_schema(values: Values, slot: Slot, titled: bool, described: bool) -> dict[str, Any]:
    """Return the JSON schema of one argument with its keys in a drawn order."""
    schema = property_of(slot)
    if described:
        schema["description"] = slot.description
    if titled:
        schema["title"] = slot.name.replace("_", " ").title()
    if titled or values.chance(0.3):
        keys = list(schema)
        values.rng.shuffle(keys)
        schema = {key: schema[key] for key in keys}
    return schema


def spare_schema(tool: Tool) -> dict[str, Any]:
    """Return the tool as the shortest function definition that is complete."""
    properties = {slot.name: property_of(slot) for slot in tool.slots}
    parameters = {"type": "object", "properties": properties}
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": parameters,
        },
    }


def speaks(tool: Tool) -> bool:
    """Tell whether the name alone says what the tool is for."""
    words = (word.strip(".") for word in tool.description.lower().split())
    return any(len(word) > 2 and word in tool.name.lower() for word in words)


def tool_schema(values: Values, tool: Tool) -> dict[str, Any]:
    """Return the tool as an OpenAI function definition in one of the usual styles."""
    titled, described = values.chance(0.2), values.chance(0.45)
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {
            slot.name: property_schema(values, slot, titled, described) for slot in tool.slots
        },
    }
    if values.chance(0.85):
        parameters["required"] = [slot.name for slot in tool.slots]
    if values.chance(0.3):
        parameters["additionalProperties"] = False
    if titled:
        parameters["title"] = values.pick((f"{tool.name}_args", tool.name.title()))
    if values.chance(0.25):
        keys = list(parameters)
        values.rng.shuffle(keys)
        parameters = {key: parameters[key] for key in keys}
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": parameters,
    }
    if values.chance(0.25):
        function["strict"] = values.chance(0.6)
    if values.chance(0.05) and speaks(tool):
        del function["description"]
    return {"type": "function", "function": function}


def argument(values: Values, slot: Slot) -> tuple[str, Any]:
    """Return an argument as the user writes it and as the call holds it."""
    if slot.kind == "whole":
        number = values.whole()
        return str(number), number
    if slot.kind == "small":
        number = values.whole(120)
        return str(number), number
    if slot.kind == "number":
        amount = values.number()
        return str(amount), amount
    if slot.kind == "flag":
        on = values.chance(0.5)
        return ("on" if on else "off"), on
    if slot.kind == "list":
        items = [values.word() for _ in range(values.rng.randint(2, 4))]
        return ", ".join(items[:-1]) + values.pick((" and ", ", ")) + items[-1], items
    text = values.entity() if slot.kind == "entity" else values.text(slot.kind)
    return text, text
