"""Calls as a list of Python calls, as LFM2 writes them, and Llama 4 without the markers, or each
call between markers:

    <|tool_call_start|>[get_weather(city='Paris', days=3), ping()]<|tool_call_end|>

Values are Python or JSON literals. Strings may hold raw newlines and, as the template of LFM2.5
does not escape anything, raw quotes: a quote ends a string only if what follows can follow a value.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.literal_grammar import LiteralGrammar, is_open_object, object_options
from llmd.chat.calls.pythonic_reader import PythonicReader
from llmd.core.message import Tool

_COMMA = r"/, ?/"


@dataclass(frozen=True, slots=True)
class PythonicCalls:
    """`section` is what stands around the list, or around one call where there `is_list` not.
    Where its start may begin other text too, `known_only` takes only calls of tools of the request
    for calls.
    """

    section: tuple[str, str] = ("<|tool_call_start|>", "<|tool_call_end|>")
    is_list: bool = True
    known_only: bool = False
    ends_thoughts: bool = False

    @property
    def openers(self) -> tuple[str, ...]:
        return (self.section[0],)

    def reader(self, opener: str, tools: ToolSchemas) -> PythonicReader:
        return PythonicReader(opener, tools, closer=self.section[1], known_only=self.known_only)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        literals = _PythonicGrammar(rules)
        options = [literals.call(name, schemas.object_schema(name)) for name in schemas.names]
        call = rules.add("call", rules.choice(options))
        if not self.is_list:
            blanks = rules.blanks()
            return rules.add("calls", f"{blanks} {call} {blanks} {rules.literal(self.section[1])}")
        more = f" ({_COMMA} {call})*" if many else ""
        opening = "" if opener == "[" else '"[" '
        return rules.add("calls", f"{opening}{call}{more} {rules.literal(']' + self.section[1])}")


class _PythonicGrammar(LiteralGrammar):
    def call(self, name: str, schema: dict[str, Any]) -> str:
        """An expression for a call of `name` with arguments of `schema`."""
        head = self.rules.literal(f"{name}(")
        options = [self._arguments(option) for option in object_options(schema)]
        return f'{head} {self.rules.choice(options)} ")"'

    def _arguments(self, schema: dict[str, Any]) -> str:
        members = [
            (
                self.rules.add("argument", f"{self.rules.literal(key + '=')} ({self.value(of)})"),
                must,
            )
            for key, of, must in self.members(schema)
        ]
        if is_open_object(schema):
            argument = self.rules.add("argument", rf"/[A-Za-z_]\w*=/ {self.anything()}")
            return f"({argument} ({_COMMA} {argument})*)?"
        return self.rules.listed(members, _COMMA)

    def string(self, schema: dict[str, Any]) -> str:
        double = self.rules.json({**_only_texts(schema), "type": "string"})
        if _only_texts(schema):
            return double
        return f"{double} | /'([^'\\\\]|\\\\(?s:.))*'/"

    def constant(self, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, str):
            plain = value.isprintable() and "'" not in value and "\\" not in value
            quoted = [text, f"'{value}'"] if plain else [text]
            return " | ".join(map(self.rules.literal, quoted))
        words = dict.fromkeys((str(value), text))
        return " | ".join(map(self.rules.literal, words))

    def array(self, schema: dict[str, Any]) -> str:
        return f'"[" {self.items(schema, _COMMA)} "]"'

    def object(self, schema: dict[str, Any]) -> str:
        if is_open_object(schema):
            key = self.string({})
            member = self.rules.add("member", f"({key}) /: ?/ {self.anything()}")
            return f'"{{" ({member} ({_COMMA} {member})*)? "}}"'
        members = [
            (self.rules.add("member", f"({self.constant(key)}) /: ?/ ({self.value(of)})"), must)
            for key, of, must in self.members(schema)
        ]
        return f'"{{" {self.rules.listed(members, _COMMA)} "}}"'


def _only_texts(schema: dict[str, Any]) -> dict[str, Any]:
    kept = ("minLength", "maxLength", "pattern", "format", "allOf")
    return {key: schema[key] for key in kept if key in schema}
