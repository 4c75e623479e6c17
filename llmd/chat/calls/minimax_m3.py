"""The calls of MiniMax-M3: nested elements, each tag behind a token that text never holds. With
`~` for that token, which is `]<]minimax[>[`:

    ~<tool_call>
    ~<invoke name="get_weather">~<city>Paris~</city>~<tags>~<item>a~</item>~</tags>~</invoke>
    ~</tool_call>

What an element holds is told by the schema of its parameter: an array holds items, an object one
element for each member.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmd.chat.answer.json_writer import JsonWriter
from llmd.chat.answer.literals import json_value
from llmd.chat.answer.scan import EndOfText, Steps
from llmd.chat.answer.schema_parts import item_schema, property_schema, resolved, schema_types
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.literal_grammar import LiteralGrammar, is_open_object
from llmd.chat.calls.raw_values import raw_value
from llmd.chat.calls.scripted import ScriptedReader
from llmd.core.message import Tool

TOKEN = "]<]minimax[>["
_SECTION = (f"{TOKEN}<tool_call>", f"{TOKEN}</tool_call>")
_CALL = (f'{TOKEN}<invoke name="', f"{TOKEN}</invoke>")
_OPEN = f"{TOKEN}<"
_CLOSE = f"{TOKEN}</"
_ITEM = "item"


@dataclass(frozen=True, slots=True)
class MiniMaxM3Calls:
    @property
    def openers(self) -> tuple[str, ...]:
        return (_SECTION[0], _CALL[0])

    @property
    def ends_thoughts(self) -> bool:
        return True

    def reader(self, opener: str, tools: ToolSchemas) -> MiniMaxM3Reader:
        return MiniMaxM3Reader(opener, tools)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        elements = _ElementGrammar(rules)
        options = []
        for name in schemas.names:
            head = rules.literal(f'{name}">')
            held = elements.held(schemas.object_schema(name), _CALL[1])
            options.append(rules.add(f"call_{name}", f"{head} {held}"))
        call = rules.choice(options)
        if opener == _CALL[0]:
            return rules.add("call", call)
        begin = f'"\\n"? {rules.literal(_CALL[0])}'
        more = f" ({begin} {call})*" if many else ""
        return rules.add("calls", f'{begin} {call}{more} "\\n"? {rules.literal(_SECTION[1])}')


class _ElementGrammar(LiteralGrammar):
    """What elements hold. Strings only end with their element, so `element` makes these."""

    def element(self, tag: str, schema: dict[str, Any]) -> str:
        opening = self.rules.literal(f"{_OPEN}{tag}>")
        return f"{opening} {self.held(schema, f'{_CLOSE}{tag}>')}"

    def held(self, schema: dict[str, Any], closing: str) -> str:
        """An expression for what an element holds, and its closing tag."""
        types = schema_types(schema)
        if not types or "string" in types:
            return raw_value(self.rules, schema, closing)
        schema = resolved(schema)
        is_free_array = "array" in types and not item_schema(schema)
        if is_free_array or ("object" in types and is_open_object(schema)):
            return self.rules.until(closing)
        return f"({self.value(schema)}) {self.rules.literal(closing)}"

    def string(self, schema: dict[str, Any]) -> str:
        raise AssertionError("strings are elements")

    def constant(self, value: Any) -> str:
        return self.rules.literal("" if value is None else json.dumps(value))

    def array(self, schema: dict[str, Any]) -> str:
        return self.items(schema, '""')

    def item(self, schema: dict[str, Any]) -> str:
        return self.element(_ITEM, schema)

    def object(self, schema: dict[str, Any]) -> str:
        parts = []
        for key, of, is_required in self.members(schema):
            element = self.rules.add(f"element_{key}", self.element(key, of))
            parts.append(element if is_required else f"{element}?")
        return " ".join(parts) or '""'


class MiniMaxM3Reader(ScriptedReader):
    """Reads one section, or calls without one."""

    def __init__(self, opener: str, tools: ToolSchemas) -> None:
        self._opener = opener
        self._tools = tools
        super().__init__(opener)

    def read(self) -> Steps[None]:
        marker: str | None = self._opener
        if marker == _SECTION[0]:
            marker = yield from self.scan.behind_blanks(_CALL[0], _SECTION[1])
        while marker == _CALL[0]:
            yield from self._read_call()
            self.begin()
            marker = yield from self.scan.behind_blanks(_CALL[0], _SECTION[1])
        if marker is None or self.is_begun:
            self.give_up()
        else:
            self.drop()

    def _read_call(self) -> Steps[None]:
        head: list[str] = []
        yield from self.scan.until(head.append, ">")
        name = "".join(head).partition('"')[0].strip()
        self.call(name)
        writer = JsonWriter(self.give_arguments)
        writer.begin_object()
        try:
            yield from self._read_elements(writer, self._tools.object_schema(name))
        except EndOfText:
            self.close_arguments(writer)
            raise
        writer.close()

    def _read_elements(self, writer: JsonWriter, schema: dict[str, Any]) -> Steps[None]:
        """Reads what a call holds, and its closing tag."""
        schemas = [schema]
        while True:
            mark = yield from self.scan.behind_blanks(_CLOSE, _OPEN)
            if mark is None:
                yield from self.scan.blanks()
                yield from self.scan.until_any(self.give_text, _OPEN)
                continue
            tag = yield from self._read_tag()
            if f"{mark}{tag}>" in _SECTION or f"{mark}{tag}".startswith(_CALL[0]):
                # The call's own closing tag is missing.
                self.scan.put_back(f"{mark}{tag}>")
                return
            if mark == _CLOSE:
                if tag == "invoke" or len(schemas) == 1:
                    return
                schemas.pop()
                writer.end()
                continue
            inner: dict[str, Any] | None = self._enter(writer, schemas[-1], tag)
            while inner is not None:
                nested = yield from self._read_content(writer, inner, tag)
                if nested is None:
                    break
                schemas.append(inner)
                tag = nested
                inner = self._enter(writer, inner, tag)

    def _enter(self, writer: JsonWriter, schema: dict[str, Any], tag: str) -> dict[str, Any]:
        """Begins the element `tag` in one of `schema`; its own schema."""
        if not writer.in_object:
            return item_schema(schema)
        writer.key(tag)
        return property_schema(schema, tag)

    def _read_content(
        self, writer: JsonWriter, schema: dict[str, Any], tag: str
    ) -> Steps[str | None]:
        """Reads what the element `tag` holds, up to and with its closing tag; if it holds others,
        only begins the array or object that it is, and gives the tag of the first of them.
        """
        closing = f"{_CLOSE}{tag}>"
        types = schema_types(schema)
        if "string" in types:
            writer.string("")
            yield from self.scan.until(writer.string, closing)
            writer.end_string()
            return None
        parts: list[str] = []
        try:
            mark = yield from self.scan.until(parts.append, closing, _OPEN)
        except EndOfText:
            if parts and not self.scan.is_cut:
                writer.value(json_value("".join(parts), schema))
            raise
        text = "".join(parts)
        if mark == closing:
            if text.strip() or not types <= {"array", "object"}:
                writer.value(json_value(text, schema) if text else "null")
            else:
                writer.value("[]" if "array" in types else "{}" if types else "null")
            return None
        self.give_text(text.strip())
        nested = yield from self._read_tag()
        is_array = "array" in types if types & {"array", "object"} else nested == _ITEM
        if types >= {"array", "object"}:
            is_array = nested == _ITEM
        if is_array:
            writer.begin_array()
        else:
            writer.begin_object()
        return nested

    def _read_tag(self) -> Steps[str]:
        parts: list[str] = []
        yield from self.scan.until(parts.append, ">")
        return "".join(parts)
