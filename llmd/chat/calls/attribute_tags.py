"""Calls whose name and keys are attributes of tags, as DeepSeek V4 (DSML), Kimi-K3 and Muse write:

<｜DSML｜tool_calls>
<｜DSML｜invoke name="get_weather">
<｜DSML｜parameter name="city" string="true">Paris</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜tool_calls>
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmd.chat.answer.json_writer import JsonWriter
from llmd.chat.answer.literals import json_value
from llmd.chat.answer.scan import EndOfText, Steps
from llmd.chat.answer.schema_parts import by_type, property_schema, schema_types
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.literal_grammar import object_options
from llmd.chat.calls.raw_values import raw_value
from llmd.chat.calls.scripted import ScriptedReader
from llmd.core.message import Tool

_QUOTE = '"'
_STRING_KIND = re.compile(r'(?:string="true"|type="string")')
_OTHER_KIND = re.compile(r'(?:string="false"|type="\w+")')


@dataclass(frozen=True, slots=True)
class AttributeTags:
    """`call` and `argument` are what stands in front of a name or key, which a quote ends, and
    the closing tag. `head_end` ends the head of a tag. `kind` is the attribute that says whether
    a value is a string, `string` or `type`, empty where none does. `gap` stands between tags.
    """

    sections: tuple[tuple[str, str], ...]
    call: tuple[str, str]
    argument: tuple[str, str]
    head_end: str
    kind: str = ""
    has_index: bool = False
    gap: str = ""
    ends_thoughts: bool = False

    @property
    def openers(self) -> tuple[str, ...]:
        return (*(section[0] for section in self.sections), self.call[0])

    def reader(self, opener: str, tools: ToolSchemas) -> AttributeTagReader:
        return AttributeTagReader(self, opener, tools)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        heads = [self._call(rules, schemas, name) for name in schemas.names]
        rest = rules.add("call", rules.choice(heads))
        closer = dict(self.sections).get(opener)
        if closer is None:
            return rest
        opening = rules.literal(self.call[0])
        more = f" ({rules.blanks()} {opening} {rest})*" if many else ""
        gap = rules.blanks()
        return rules.add("calls", f"{gap} {opening} {rest}{more} {gap} {rules.literal(closer)}")

    def _call(self, rules: GrammarRules, schemas: ToolSchemas, name: str) -> str:
        """The expression for a call of `name` from its name on."""
        index = r'" index=\"" /[0-9]{1,4}/ "\"" ' if self.has_index else ""
        head = f"{rules.literal(name + _QUOTE)} {index}{rules.literal(self.head_end)}"
        options = object_options(schemas.object_schema(name))
        held = rules.choice(self._held(rules, option) for option in options)
        return rules.add(f"call_{name}", f"{head} {held}")

    def _held(self, rules: GrammarRules, schema: dict[str, Any]) -> str:
        """The expression for arguments of `schema` and the end of their call."""
        parts = []
        required = schema.get("required", [])
        for key in schema.get("properties", {}):
            argument = self._argument(rules, key, property_schema(schema, key))
            parts.append(argument if key in required else f"({argument})?")
        # Literals, not blanks of any kind: these would share a lexeme with an argument's gap.
        ends = [self.gap + self.call[1]]
        if self.gap and not required:
            ends.append(2 * self.gap + self.call[1])
        parts.append(rules.choice(map(rules.literal, ends)))
        return " ".join(parts)

    def _argument(self, rules: GrammarRules, key: str, schema: dict[str, Any]) -> str:
        head = f'{self.gap}{self.argument[0]}{key}"'
        closer = self.argument[1]
        if not self.kind:
            literal = rules.literal(head + self.head_end)
            return rules.add(f"argument_{key}", f"{literal} {raw_value(rules, schema, closer)}")
        options = []
        for kind, only in by_type(schema).items():
            said = kind if self.kind == "type" else json.dumps(kind == "string")
            literal = rules.literal(f'{head} {self.kind}="{said}"{self.head_end}')
            if kind == "string":
                options.append(f"{literal} {raw_value(rules, only, closer)}")
            else:
                options.append(f"{literal} {rules.json(only)} {rules.literal(closer)}")
        return rules.add(f"argument_{key}", rules.choice(options))


class AttributeTagReader(ScriptedReader):
    """Reads one section, or calls without one."""

    def __init__(self, tags: AttributeTags, opener: str, tools: ToolSchemas) -> None:
        self._tags = tags
        self._tools = tools
        self._opener = opener
        self._closers = tuple(closer for _, closer in tags.sections)
        super().__init__(opener)

    def read(self) -> Steps[None]:
        call_open = self._tags.call[0]
        option: str | None = call_open
        if self._opener != call_open:
            option = yield from self.scan.behind_blanks(call_open, *self._closers)
        while option == call_open:
            yield from self._read_call()
            self.begin()
            option = yield from self.scan.behind_blanks(call_open, *self._closers)
        if self.is_begun or option is None:
            self.give_up()
        else:
            self.drop()

    def _read_call(self) -> Steps[None]:
        head: list[str] = []
        yield from self.scan.until(head.append, self._tags.head_end)
        name = "".join(head).partition('"')[0].strip()
        self.call(name)
        writer = JsonWriter(self.give_arguments)
        writer.begin_object()
        try:
            yield from self._read_arguments(name, writer)
        except EndOfText:
            self.close_arguments(writer)
            raise
        writer.close()

    def _read_arguments(self, name: str, writer: JsonWriter) -> Steps[None]:
        tags = self._tags
        markers = (tags.argument[0], tags.call[1], *self._closers)
        while True:
            marker = yield from self.scan.behind_blanks(*markers, tags.call[0])
            if marker is None:
                marker = yield from self.scan.until(self.give_text, *markers)
            if marker == tags.argument[0]:
                yield from self._read_argument(name, writer)
                continue
            if marker != tags.call[1]:
                # The call's own closer is missing.
                self.scan.put_back(marker)
            return

    def _read_argument(self, name: str, writer: JsonWriter) -> Steps[None]:
        head: list[str] = []
        yield from self.scan.until(head.append, self._tags.head_end)
        key, _, attributes = "".join(head).partition('"')
        schema = self._tools.value_schema(name, key)
        writer.key(key)
        closer = self._tags.argument[1]
        is_other = _OTHER_KIND.search(attributes) is not None
        if _STRING_KIND.search(attributes) or (not is_other and schema_types(schema) == {"string"}):
            writer.string("")
            yield from self.scan.until(writer.string, closer)
            writer.end_string()
            return
        text: list[str] = []
        try:
            yield from self.scan.until(text.append, closer)
        except EndOfText:
            if text and not self.scan.is_cut:
                writer.value(json_value("".join(text), {} if is_other else schema))
            raise
        writer.value(json_value("".join(text), {} if is_other else schema))


def dsml(word: str) -> AttributeTags:
    """DeepSeek's tags, whose section is called `word`."""
    return AttributeTags(
        sections=((f"<｜DSML｜{word}>", f"</｜DSML｜{word}>"),),
        call=('<｜DSML｜invoke name="', "</｜DSML｜invoke>"),
        argument=('<｜DSML｜parameter name="', "</｜DSML｜parameter>"),
        head_end=">",
        kind="string",
        gap="\n",
        ends_thoughts=True,
    )


KIMI_K3 = AttributeTags(
    sections=(("<|open|>tools<|sep|>", "<|close|>tools<|sep|>"),),
    call=('<|open|>call tool="', "<|close|>call<|sep|>"),
    argument=('<|open|>argument key="', "<|close|>argument<|sep|>"),
    head_end="<|sep|>",
    kind="type",
    has_index=True,
    ends_thoughts=True,
)

MUSE = AttributeTags(
    sections=(("<atem:function_calls>", "</atem:function_calls>"),),
    call=('<atem:invoke name="', "</atem:invoke>"),
    argument=('<atem:parameter name="', "</atem:parameter>"),
    head_end=">",
    gap="\n",
)
