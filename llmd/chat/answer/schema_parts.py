"""What a JSON schema says about the parts of a value."""

from __future__ import annotations

import json
from typing import Any

_TYPES = ("string", "number", "boolean", "null", "array", "object")


def property_schema(schema: dict[str, Any], key: str) -> dict[str, Any]:
    """The schema of the member `key` of an object of `schema`, which stands alone as that does."""
    for option in schema_options(schema):
        properties = option.get("properties")
        if isinstance(properties, dict) and key in properties:
            return _part(properties[key], schema)
    for option in schema_options(schema):
        if isinstance(option.get("additionalProperties"), dict):
            return _part(option["additionalProperties"], schema)
    return {}


def item_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the items of an array of `schema`, which stands alone as that does."""
    for option in schema_options(schema):
        if isinstance(option.get("items"), dict):
            return _part(option["items"], schema)
    return {}


def schema_types(schema: dict[str, Any]) -> frozenset[str]:
    """The JSON types that a value of `schema` may have; empty where nothing is said about it.
    `integer` comes with `number`.
    """
    types: set[str] = set()
    for option in schema_options(schema):
        declared = option.get("type")
        if declared is not None:
            declared = declared if isinstance(declared, list) else [declared]
            types.update(name for name in declared if isinstance(name, str))
        elif "const" in option:
            types.add(type_of(option["const"]))
        elif isinstance(option.get("enum"), list):
            types.update(type_of(value) for value in option["enum"])
        elif "properties" in option:
            types.add("object")
        elif "items" in option:
            types.add("array")
    return frozenset(types | {"number"} if "integer" in types else types)


def by_type(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`schema` taken apart: for each JSON type of its values the schema of those; of all types
    where nothing is said. Each stands alone as `schema` does.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    options = [option for option in schema_options(schema) if not _is_union(option)]
    for option in options:
        for name in sorted(schema_types(option) - {"integer"}):
            found.setdefault(name, []).append(option)
    if not found:
        return {name: {"type": name} for name in _TYPES}
    return {name: _one_of_type(name, parts, schema) for name, parts in found.items()}


def type_of(value: Any) -> str:
    """The JSON type of a Python value: `number` for integers too."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list | tuple) else "object"


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema`, or what it points at where it is nothing but a local reference."""
    for _ in range(16):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            break
        target = _pointed_at(schema, reference)
        if not isinstance(target, dict):
            return {}
        schema = _part(target, schema)
    return schema


def schema_options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """`schema` with its local references followed, and the options of its `anyOf`, `oneOf` and
    `allOf` likewise, the outermost first. References that lead nowhere or in circles are dropped.
    """
    options: list[dict[str, Any]] = []
    seen: set[str] = set()
    waiting: list[Any] = [schema]
    # The bound keeps a hostile schema from costing more than it is worth.
    while waiting and len(options) < 64:
        option = waiting.pop(0)
        if not isinstance(option, dict):
            continue
        reference = option.get("$ref")
        if isinstance(reference, str):
            if reference not in seen:
                seen.add(reference)
                waiting.insert(0, _pointed_at(schema, reference))
            if option.keys() <= {"$ref", "$defs"}:
                continue
        options.append(option)
        for keyword in ("anyOf", "oneOf", "allOf"):
            more = option.get(keyword)
            if isinstance(more, list):
                waiting.extend(more)
    return options


def _is_union(schema: dict[str, Any]) -> bool:
    return any(keyword in schema for keyword in ("anyOf", "oneOf", "$ref"))


def _one_of_type(name: str, options: list[dict[str, Any]], whole: dict[str, Any]) -> dict[str, Any]:
    """The values of the type `name` of `options`."""
    parts = []
    for option in options:
        declared = option.get("type", name)
        if isinstance(declared, list):
            declared = "integer" if name == "number" and "number" not in declared else name
        part = {**option, "type": declared}
        if isinstance(option.get("enum"), list):
            part["enum"] = [value for value in option["enum"] if type_of(value) == name]
        parts.append(part)
    one = parts[0] if len(parts) == 1 else {"anyOf": parts}
    return _part(one, whole)


def _part(schema: Any, whole: dict[str, Any]) -> dict[str, Any]:
    """`schema`, a part of `whole`, together with what its references point at."""
    if not isinstance(schema, dict):
        return {}
    return {**schema, "$defs": whole["$defs"]} if "$defs" in whole else schema


def rooted(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with its references, if any, turned so that they hold in every part of it."""
    if '"$ref"' not in json.dumps(schema):
        return {key: value for key, value in schema.items() if key != "$defs"}
    return {"$ref": "#/$defs/whole", "$defs": {"whole": _with_longer_references(schema)}}


def _with_longer_references(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_longer_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    longer = {key: _with_longer_references(value) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        longer["$ref"] = f"#/$defs/whole{reference[1:]}"
    return longer


def _pointed_at(root: dict[str, Any], reference: str) -> Any:
    if not reference.startswith("#"):
        return None
    found: Any = root
    for step in filter(None, reference[1:].split("/")):
        step = step.replace("~1", "/").replace("~0", "~")
        found = found.get(step) if isinstance(found, dict) else None
    return found
