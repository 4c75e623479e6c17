"""Grammar of values in a notation of its own, from their JSON schema."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from llmd.chat.answer.schema_parts import item_schema, property_schema, resolved, schema_types
from llmd.chat.calls.base import GrammarRules

_TYPES = ("string", "number", "boolean", "null", "array", "object")


class LiteralGrammar(ABC):
    """Turns a JSON schema into Lark rules for values of it, as one notation writes them."""

    def __init__(self, rules: GrammarRules) -> None:
        self.rules = rules
        self._references: dict[str, str] = {}

    @abstractmethod
    def string(self, schema: dict[str, Any]) -> str:
        """An expression for a string."""

    @abstractmethod
    def constant(self, value: Any) -> str:
        """An expression for one value."""

    @abstractmethod
    def array(self, schema: dict[str, Any]) -> str:
        """An expression for an array."""

    @abstractmethod
    def object(self, schema: dict[str, Any]) -> str:
        """An expression for an object."""

    def value(self, schema: dict[str, Any]) -> str:
        """An expression for a value of `schema`, which stands alone."""
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return self._value(schema)
        if reference not in self._references:
            # Named before it is made: the schema may contain itself.
            name = self._references[reference] = self.rules.reserve("value")
            self.rules.define(name, self._value(resolved(schema)))
        return self._references[reference]

    def _value(self, schema: dict[str, Any]) -> str:
        for keyword in ("anyOf", "oneOf"):
            options = schema.get(keyword)
            if isinstance(options, list) and options:
                definitions = {key: schema[key] for key in ("$defs",) if key in schema}
                return self.rules.choice(
                    self.value({**option, **definitions}) for option in options
                )
        if "const" in schema:
            return self.constant(schema["const"])
        if isinstance(schema.get("enum"), list):
            return self.rules.choice(map(self.constant, schema["enum"]))
        types = schema_types(schema)
        if not types:
            return self.anything()
        return self.rules.choice(self._typed(name, schema) for name in _TYPES if name in types)

    def _typed(self, name: str, schema: dict[str, Any]) -> str:
        match name:
            case "string":
                return self.string(schema)
            case "number":
                declared = schema.get("type")
                is_integer = declared == "integer" or declared == ["integer"]
                kind = "integer" if is_integer else "number"
                return self.rules.json({**_only_numbers(schema), "type": kind})
            case "boolean":
                return f"{self.constant(True)} | {self.constant(False)}"
            case "null":
                return self.constant(None)
            case "array":
                return self.array(schema)
            case _:
                return self.object(schema)

    def anything(self) -> str:
        """The name of a rule for any value."""
        if "" not in self._references:
            name = self._references[""] = self.rules.reserve("anything")
            options = [self._typed(kind, {"type": kind}) for kind in _TYPES]
            self.rules.define(name, self.rules.choice(options))
        return self._references[""]

    def item(self, schema: dict[str, Any]) -> str:
        """An expression for one item of an array."""
        return self.value(schema)

    def items(self, schema: dict[str, Any], separator: str) -> str:
        """An expression for the items of an array, with `separator` between them."""
        item = self.rules.add("item", self.item(item_schema(schema)))
        least = schema.get("minItems", 0)
        most = schema.get("maxItems")
        if most == 0:
            return '""'
        times = f"{{{max(0, least - 1)},{'' if most is None else most - 1}}}"
        listed = f"{item} ({separator} {item}){times}"
        return listed if least else f"({listed})?"

    def members(self, schema: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool]]:
        """The key, the schema and whether it is required, of each member of an object."""
        properties = schema.get("properties")
        required = schema.get("required", [])
        keys = properties if isinstance(properties, dict) else {}
        return [(key, property_schema(schema, key), key in required) for key in keys]


def _only_numbers(schema: dict[str, Any]) -> dict[str, Any]:
    kept = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    return {key: schema[key] for key in kept if key in schema}


def object_options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The plain objects that an object of `schema` may be; each stands alone as that does."""
    schema = resolved(schema)
    options = schema.get("anyOf")
    if not isinstance(options, list) or not options:
        return [schema]
    definitions = {key: schema[key] for key in ("$defs",) if key in schema}
    return [resolved({**option, **definitions}) for option in options]


def is_open_object(schema: dict[str, Any]) -> bool:
    """Whether an object of `schema` may have any members."""
    is_closed = schema.get("properties") or "anyOf" in schema
    return not is_closed and schema.get("additionalProperties", True) not in (False, None)
