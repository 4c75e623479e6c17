"""The calls of Gemma 4, in literals of its own:

<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3,tags:[<|"|>a<|"|>,null]}<tool_call|>
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmd.chat.answer.json_stream import JsonStream
from llmd.chat.answer.json_writer import JsonWriter
from llmd.chat.answer.literals import json_value
from llmd.chat.answer.scan import EndOfText, Steps
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.literal_grammar import LiteralGrammar, is_open_object
from llmd.chat.calls.raw_values import string_body
from llmd.chat.calls.scripted import ScriptedReader
from llmd.core.message import Tool

_COMMA = '","'
_NAME = re.compile(r"[\w.\-:/]*")
_KEY = re.compile(r"[^:,{}\[\]<\"]*")
_SCALAR = re.compile(r"[^,{}\[\]<\"]*")


@dataclass(frozen=True, slots=True)
class Gemma4Calls:
    """`call` are the markers around a call, `quote` that around a string."""

    call: tuple[str, str] = ("<|tool_call>", "<tool_call|>")
    quote: str = '<|"|>'

    @property
    def openers(self) -> tuple[str, ...]:
        return (self.call[0],)

    @property
    def ends_thoughts(self) -> bool:
        return True

    def reader(self, opener: str, tools: ToolSchemas) -> Gemma4Reader:
        return Gemma4Reader(self, opener)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        literals = _Gemma4Grammar(rules, self.quote)
        options = [
            f"{rules.literal('call:' + name)} {literals.value(schemas.object_schema(name))}"
            for name in schemas.names
        ]
        call = rules.add("call", f"{rules.choice(options)} {rules.literal(self.call[1])}")
        more = f" ({rules.literal(self.call[0])} {call})*" if many else ""
        return rules.add("calls", f"{call}{more}")


class _Gemma4Grammar(LiteralGrammar):
    def __init__(self, rules: GrammarRules, quote: str) -> None:
        super().__init__(rules)
        self._quote = quote

    def string(self, schema: dict[str, Any]) -> str:
        text = self.rules.until(self._quote, string_body(schema))
        return f"{self.rules.literal(self._quote)} {text}"

    def constant(self, value: Any) -> str:
        if isinstance(value, str):
            return self.rules.literal(f"{self._quote}{value}{self._quote}")
        if value is None:
            # The template writes the one at the top and the other below.
            return '"null" | "None"'
        return self.rules.literal(json.dumps(value))

    def array(self, schema: dict[str, Any]) -> str:
        return f'"[" {self.items(schema, _COMMA)} "]"'

    def object(self, schema: dict[str, Any]) -> str:
        if is_open_object(schema):
            member = self.rules.add("member", f'/[^:,{{}}\\[\\]<"]+/ ":" {self.anything()}')
            return f'"{{" ({member} ("," {member})*)? "}}"'
        # The template sorts the members, and the model has learned it so.
        members = sorted(self.members(schema), key=lambda member: member[0].lower())
        listed = [
            (self.rules.add("member", f"{self.rules.literal(key + ':')} ({self.value(of)})"), must)
            for key, of, must in members
        ]
        return f'"{{" {self.rules.listed(listed, _COMMA)} "}}"'


class Gemma4Reader(ScriptedReader):
    """Reads one call."""

    def __init__(self, syntax: Gemma4Calls, opener: str) -> None:
        self._closer = syntax.call[1]
        self._quote = syntax.quote
        super().__init__(opener)

    def read(self) -> Steps[None]:
        scan = self.scan
        yield from scan.behind_blanks("call:")
        yield from scan.blanks()
        name = yield from scan.run(_NAME)
        brace = yield from scan.behind_blanks("{")
        if not name or brace is None:
            self.give_up()
            return
        self.call(name)
        writer = JsonWriter(self.give_arguments)
        writer.begin_object()
        try:
            is_whole = yield from self._read_members(writer)
        except EndOfText:
            self.close_arguments(writer)
            raise
        writer.close()
        if not is_whole:
            yield from scan.until_any(self.give_text, self._closer)
        yield from scan.behind_blanks(self._closer)

    def _read_members(self, writer: JsonWriter) -> Steps[bool]:
        """Reads to the end of the outermost object; whether that came."""
        scan = self.scan
        while writer.depth:
            yield from scan.blanks()
            yield from scan.some()
            mark = yield from scan.option("}", "]", ",")
            if mark == ",":
                continue
            if mark is not None:
                writer.end()
                continue
            if writer.in_object:
                key = yield from self._read_key()
                if key is None:
                    return False
                writer.key(key)
                yield from scan.blanks()
                yield from scan.some()
            is_value = yield from self._read_value(writer)
            if not is_value:
                return False
        return True

    def _read_key(self) -> Steps[str | None]:
        scan = self.scan
        quote = yield from scan.option(self._quote, '"')
        if quote is None:
            key = yield from scan.run(_KEY)
            if not key.strip():
                return None
        else:
            parts: list[str] = []
            yield from scan.until(parts.append, quote)
            key = "".join(parts)
        colon = yield from scan.behind_blanks(":")
        return key.strip() if colon else None

    def _read_value(self, writer: JsonWriter) -> Steps[bool]:
        scan = self.scan
        mark = yield from scan.option(self._quote, "{", "[", '"')
        if mark == self._quote:
            writer.string("")
            yield from scan.until(writer.string, self._quote)
            writer.end_string()
        elif mark == "{":
            writer.begin_object()
        elif mark == "[":
            writer.begin_array()
        elif mark == '"':
            scan.put_back(mark)
            parts: list[str] = []
            stream = JsonStream()
            yield from scan.json(stream, parts.append)
            writer.value("".join(parts))
        else:
            scalar = yield from scan.run(_SCALAR)
            if not scalar.strip():
                return False
            writer.value(json_value(scalar, {}))
        return True
