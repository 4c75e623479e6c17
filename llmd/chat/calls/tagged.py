"""Calls with a tag for each argument, whose value stands there as it is:

<tool_call>                                     <tool_call>get_weather
<function=get_weather>                          <arg_key>city</arg_key>
<parameter=city>                                <arg_value>Paris</arg_value>
Paris                                           </tool_call>
</parameter>
</function>
</tool_call>
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llmd.chat.answer.json_writer import JsonWriter
from llmd.chat.answer.literals import json_value
from llmd.chat.answer.scan import Emit, EndOfText, Steps
from llmd.chat.answer.schema_parts import property_schema, schema_types
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.literal_grammar import is_open_object, object_options
from llmd.chat.calls.raw_values import raw_value
from llmd.chat.calls.section import Section, SectionReader, chunks, word_stops
from llmd.core.message import Tool

CDATA = ("<![CDATA[", "]]>")


@dataclass(frozen=True, slots=True)
class Tagged:
    """A call is its name, `name_close` and arguments; an argument is `key_open`, its key,
    `key_close`, its value and `value_close`, in which `{key}` stands for the key.

    Where what stands between key and value depends on the value's type, `key_close` is the part in
    front of that, `kind_close` the part behind it and `string_kind` what stands there for strings.
    """

    section: Section
    name_close: str
    key_open: str
    key_close: str
    value_close: str
    kind_close: str = ""
    string_kind: str = ""
    values_are_json: bool = False
    """Strings too, which have their quotes then."""
    has_cdata: bool = False
    """Values may stand between `<![CDATA[` and `]]>`."""
    ends_thoughts: bool = True

    @property
    def openers(self) -> tuple[str, ...]:
        return self.section.openers

    def reader(self, opener: str, tools: ToolSchemas) -> TaggedReader:
        return TaggedReader(self, opener, tools)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        calls = [self._call(rules, schemas, name) for name in schemas.names]
        call = rules.add("call", rules.choice(calls))
        return self.section.grammar(rules, opener, call, many=many)

    def _call(self, rules: GrammarRules, schemas: ToolSchemas, name: str) -> str:
        options = object_options(schemas.object_schema(name))
        arguments = rules.choice(self._arguments(rules, option) for option in options)
        return rules.add(f"call_{name}", f"{rules.literal(name + self.name_close)} {arguments}")

    def _arguments(self, rules: GrammarRules, schema: dict[str, Any]) -> str:
        if is_open_object(schema) and "{key}" not in self.value_close:
            return f"({self._argument(rules, None, {})})*"
        required = schema.get("required", [])
        arguments = []
        for key in schema.get("properties", {}):
            argument = self._argument(rules, key, property_schema(schema, key))
            arguments.append(argument if key in required else f"({argument})?")
        return " ".join(arguments) or '""'

    def _argument(self, rules: GrammarRules, key: str | None, schema: dict[str, Any]) -> str:
        """The argument `key`, or one of any name."""
        before = rules.literal(self.key_open + (key or "") + self.key_close)
        if key is None:
            before = rf"{rules.literal(self.key_open)} /\w{{1,64}}/ {rules.literal(self.key_close)}"
        after = self.value_close.replace("{key}", key or "")
        kind = ""
        if self.kind_close:
            kind = f" /[^<>\"'\\s]{{1,16}}/ {rules.literal(self.kind_close)}"
        value = raw_value(rules, schema, after)
        if self.has_cdata:
            wrapped = raw_value(rules, schema, CDATA[1] + after)
            value = rules.choice([value, f"{rules.literal(CDATA[0])} {wrapped}"])
        return rules.add(f"argument_{key or 'any'}", f"{before}{kind} {value}")


class TaggedReader(SectionReader):
    """See CallReader. A value ends at a closer that another argument or the call's end follows,
    so a closer within a value does no harm.
    """

    def __init__(self, syntax: Tagged, opener: str, tools: ToolSchemas) -> None:
        self._syntax = syntax
        self._tools = tools
        section = syntax.section
        self._key_open = chunks(syntax.key_open)
        self._ends = (
            *chunks(section.call_close),
            *chunks(section.close)[:1],
            *section.openers,
        )
        super().__init__(section, opener)

    def read_call(self) -> Steps[bool]:
        syntax, scan = self._syntax, self.scan
        name_close = chunks(syntax.name_close)
        stops = _NAME_STOPS + word_stops([syntax.name_close, syntax.key_open])
        yield from scan.blanks()
        name = yield from scan.run(_until(stops))
        if not name:
            return False
        for number, chunk in enumerate(name_close):
            found = yield from scan.behind_blanks(chunk)
            if found is None and number == 0:
                return False
        if not name_close:
            found = yield from scan.behind_blanks(self._key_open[0], *self._ends)
            if found is None:
                return False
            scan.put_back(found)
        self.call(name)
        writer = JsonWriter(self.give_arguments)
        try:
            writer.begin_object()
            yield from self._read_arguments(name, writer)
        except EndOfText:
            self.close_arguments(writer)
            raise
        writer.close()
        return True

    def _read_arguments(self, name: str, writer: JsonWriter) -> Steps[None]:
        scan = self.scan
        while True:
            found = yield from scan.behind_blanks(self._key_open[0], *self._ends)
            if found is None:
                found = yield from scan.until(self.give_text, self._key_open[0], *self._ends)
            if found != self._key_open[0]:
                scan.put_back(found)
                return
            for chunk in self._key_open[1:]:
                yield from scan.behind_blanks(chunk)
            yield from self._read_argument(name, writer)

    def _read_argument(self, name: str, writer: JsonWriter) -> Steps[None]:
        syntax, scan = self._syntax, self.scan
        key = yield from self._read_word(_KEY_STOPS, syntax.key_close)
        schema = self._tools.value_schema(name, key)
        is_text = schema_types(schema) == {"string"} and not syntax.values_are_json
        if syntax.kind_close:
            kind = yield from self._read_word(_KIND_STOPS, syntax.kind_close)
            is_text = kind == syntax.string_kind
            schema = {} if not is_text and schema_types(schema) <= {"string"} else schema
        writer.key(key)
        cdata = None
        if syntax.has_cdata:
            cdata = yield from scan.behind_blanks(CDATA[0])
        if cdata is None:
            yield from scan.option(_outer_blanks(syntax.kind_close or syntax.key_close)[1])
        if is_text:
            writer.string("")
            yield from self._read_value(writer.string, key, is_cdata=cdata is not None)
            writer.end_string()
            return
        text: list[str] = []
        try:
            yield from self._read_value(text.append, key, is_cdata=cdata is not None)
        except EndOfText:
            if text and not scan.is_cut:
                writer.value(self._json("".join(text), schema))
            raise
        writer.value(self._json("".join(text), schema))

    def _read_word(self, stops: str, literal: str) -> Steps[str]:
        """A key or kind and the `literal` behind it."""
        closers = chunks(literal)
        yield from self.scan.blanks()
        stops += word_stops([literal]) or r"\s"
        word = yield from self.scan.run(_until(stops))
        for closer in closers:
            yield from self.scan.behind_blanks(closer)
        return word.strip()

    def _read_value(self, emit: Emit, key: str, *, is_cdata: bool) -> Steps[None]:
        value_close = self._syntax.value_close.replace("{key}", key)
        closers = list(chunks(value_close))
        blanks = _outer_blanks(value_close)[0]
        if is_cdata:
            closers.insert(0, CDATA[1])
            blanks = ""
        while True:
            taken = yield from self.scan.until(emit, blanks + closers[0], closers[0])
            for closer in closers[1:]:
                taken += (yield from self.scan.behind_blanks(closer)) or ""
            is_end = yield from self._argument_ends()
            if is_end:
                return
            emit(taken)

    def _argument_ends(self) -> Steps[bool]:
        """Whether what comes can follow a value."""
        scan = self.scan
        found = yield from scan.behind_blanks(self._key_open[0], *self._ends)
        if found is None:
            return scan.is_over and not scan.text.strip()
        scan.put_back(found)
        return True

    def _json(self, text: str, schema: dict[str, Any]) -> str:
        return json_value(text, {} if self._syntax.values_are_json else schema)


_NAME_STOPS = "\\s{}<>\\[\\]\"'()"
_KEY_STOPS = '<>\\n"'
_KIND_STOPS = "\\s<>\"'"


@lru_cache(maxsize=256)
def _until(stops: str) -> re.Pattern[str]:
    return re.compile(f"[^{stops}]*")


def _outer_blanks(literal: str) -> tuple[str, str]:
    start = len(literal) - len(literal.lstrip())
    return literal[:start], literal[len(literal.rstrip()) :]
