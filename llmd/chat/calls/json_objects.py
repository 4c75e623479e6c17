"""Calls that are JSON objects, whatever their keys: alone in tags, in an array or line by line.

<tool_call>                                        [TOOL_CALLS][{"name": "f", "arguments": {},
{"name": "f", "arguments": {"a": 1}}                             "id": "x"}]
</tool_call>
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from llmd.chat.answer.json_stream import JsonStream
from llmd.chat.answer.literals import unquoted_arguments
from llmd.chat.answer.scan import EndOfText, Steps
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.section import Section, SectionReader
from llmd.core.message import Tool

Path = tuple[str, ...]


class Slot(Enum):
    """What of a call stands in a place of its text."""

    NAME = auto()
    ARGUMENTS = auto()
    ARGUMENTS_TEXT = auto()
    """The arguments' JSON text as a JSON string."""
    ID = auto()


HERMES_LAYOUT: tuple[str | Slot, ...] = (
    '{"name": "',
    Slot.NAME,
    '", "arguments": ',
    Slot.ARGUMENTS,
    "}",
)


@dataclass(frozen=True, slots=True)
class JsonObjects:
    """`name`, `arguments` and `id` are the keys that lead to each, from the outermost object in.
    `name` and `arguments` are empty where the name itself is the key of the arguments. `layout`
    is one object as the template writes it: literal texts, quotes among them, and slots.
    """

    section: Section
    name: Path = ("name",)
    arguments: Path = ("arguments",)
    id: Path | None = None
    layout: tuple[str | Slot, ...] = HERMES_LAYOUT
    ends_thoughts: bool = False

    @property
    def openers(self) -> tuple[str, ...]:
        return self.section.openers

    @property
    def id_comes_last(self) -> bool:
        """The arguments have to wait for the id then, as a call's first piece tells it."""
        slots = [part for part in self.layout if isinstance(part, Slot)]
        return len(slots) > 1 and slots[-1] is Slot.ID

    def reader(self, opener: str, tools: ToolSchemas) -> JsonObjectsReader:
        return JsonObjectsReader(self, opener)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        calls = [self._call(rules, schemas, name) for name in schemas.names]
        call = rules.add("call", rules.choice(calls))
        return self.section.grammar(rules, opener, call, many=many)

    def _call(self, rules: GrammarRules, schemas: ToolSchemas, name: str) -> str:
        fillings = {
            Slot.NAME: rules.literal(json.dumps(name, ensure_ascii=False)[1:-1]),
            Slot.ARGUMENTS: rules.json(schemas.object_schema(name)),
            Slot.ARGUMENTS_TEXT: rules.json({"type": "string"}),
            Slot.ID: "/[A-Za-z0-9_-]{1,64}/",
        }
        parts = (fillings[p] if isinstance(p, Slot) else rules.literal(p) for p in self.layout)
        return rules.add(f"call_{name}", " ".join(parts))


class JsonObjectsReader(SectionReader):
    """See CallReader. Keys may come in any order; what no slot stands for is passed over."""

    def __init__(self, syntax: JsonObjects, opener: str) -> None:
        self._syntax = syntax
        self._name: str | None = None
        self._id: str | None = None
        self._arguments: str | None = None
        self._is_started = False
        super().__init__(syntax.section, opener)

    def read_call(self) -> Steps[bool]:
        is_array = yield from self.scan.behind_blanks("[")
        if is_array is None:
            return (yield from self._read_object())
        num_calls = 0
        while (yield from self._read_object()):
            num_calls += 1
            self.begin()
            comma = yield from self.scan.behind_blanks(",", "]")
            if comma != ",":
                return True
        return num_calls > 0

    def _read_object(self) -> Steps[bool]:
        self._name = self._id = self._arguments = None
        self._is_started = False
        bracket = yield from self.scan.behind_blanks("{")
        if bracket is None:
            return False
        try:
            yield from self._read_members(())
        finally:
            # At the end of the text too: what is known by then is a call.
            if self._name is not None and not self._is_started:
                self._start()
        return self._is_started

    def _read_members(self, path: Path) -> Steps[bool]:
        """Reads behind a bracket; False where this is no JSON object any more."""
        scan = self.scan
        while True:
            mark = yield from scan.behind_blanks(",", "}", '"', "'")
            if mark == "}":
                return True
            if mark is None:
                return False
            if mark == ",":
                continue
            scan.put_back(mark)
            key = yield from self._read_value()
            colon = yield from scan.behind_blanks(":")
            if key is None or colon is None:
                return False
            is_good = yield from self._read_member((*path, json.loads(key)))
            if not is_good:
                return False

    def _read_member(self, path: Path) -> Steps[bool]:
        syntax = self._syntax
        if path == (syntax.arguments or path[:1]):
            if not syntax.arguments:
                if self._name is not None and not self._is_started:
                    self._start()
                self._name, self._arguments, self._is_started = path[0], None, False
            return (yield from self._read_arguments())
        wanted = (syntax.name, syntax.arguments, syntax.id or ())
        if any(len(w) > len(path) and w[: len(path)] == path for w in wanted):
            bracket = yield from self.scan.behind_blanks("{")
            if bracket:
                return (yield from self._read_members(path))
        value = yield from self._read_value()
        if value is not None and path == syntax.name and value.startswith('"'):
            self._name = json.loads(value)
        elif value is not None and path == (syntax.id or ("id",)):
            self._id = json.loads(value) if value.startswith('"') else self._id
            self._id = value if value.isdigit() else self._id
        return value is not None

    def _read_value(self) -> Steps[str | None]:
        """The JSON text of the value that comes, None where none does."""
        stream = JsonStream()
        parts: list[str] = []
        yield from self.scan.json(stream, parts.append)
        return None if stream.is_broken else "".join(parts)

    def _read_arguments(self) -> Steps[bool]:
        waits_for_id = self._syntax.id_comes_last and self._id is None
        if self._name is not None and not waits_for_id:
            self._is_started = True
            self.call(self._name, self._id)
            return (yield from self.json_arguments())
        stream = JsonStream()
        parts: list[str] = []
        try:
            yield from self.scan.json(stream, parts.append)
        except EndOfText:
            if not self.scan.is_cut:
                self._arguments = unquoted_arguments("".join(parts) + stream.closing())
            raise
        closing = stream.closing() if stream.is_broken else ""
        self._arguments = unquoted_arguments("".join(parts) + closing)
        return not stream.is_broken

    def _start(self) -> None:
        assert self._name is not None
        self._is_started = True
        self.call(self._name, self._id)
        if self._arguments is not None or not self.scan.is_cut:
            self.give_arguments(self._arguments or "{}")
