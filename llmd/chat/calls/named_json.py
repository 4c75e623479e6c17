"""Calls with the name in a marker and the arguments as JSON behind it:

<function=get_weather>{"city": "Paris"}</function>
[TOOL_CALLS]get_weather[CALL_ID]a1B2c3D4e[ARGS]{"city": "Paris"}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from llmd.chat.answer.scan import EndOfText, Steps
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.json_objects import Slot
from llmd.chat.calls.section import Section, SectionReader, chunks, word_stops
from llmd.core.message import Tool

_ID = "/[A-Za-z0-9_-]{1,64}/"


@dataclass(frozen=True, slots=True)
class NamedJson:
    """`words` are the slots between a call's opener and its arguments, the name and perhaps an id,
    each with the literal text behind it. `before_id` stands between the arguments and an id behind
    them, empty where there is none.
    """

    section: Section
    words: tuple[tuple[Slot, str], ...] = ((Slot.NAME, ""),)
    before_id: str = ""
    ends_thoughts: bool = False

    @property
    def openers(self) -> tuple[str, ...]:
        return self.section.openers

    def reader(self, opener: str, tools: ToolSchemas) -> NamedJsonReader:
        return NamedJsonReader(self, opener)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        calls = [self._call(rules, schemas, name) for name in schemas.names]
        call = rules.add("call", rules.choice(calls))
        return self.section.grammar(rules, opener, call, many=many)

    def _call(self, rules: GrammarRules, schemas: ToolSchemas, name: str) -> str:
        parts: list[str] = []
        for slot, literal in self.words:
            parts.append(rules.literal(name) if slot is Slot.NAME else _ID)
            if literal:
                parts.append(rules.literal(literal))
        parts.append(rules.json(schemas.object_schema(name)))
        if self.before_id:
            parts += [rules.literal(self.before_id), _ID]
        return rules.add(f"call_{name}", " ".join(parts))


class NamedJsonReader(SectionReader):
    """See CallReader. Ids that the model leaves out are forgiven."""

    def __init__(self, syntax: NamedJson, opener: str) -> None:
        self._words = syntax.words
        self._before_id = chunks(syntax.before_id)
        self._held: list[str] | None = None
        """Arguments that wait for their call's id, which its first piece tells."""
        super().__init__(syntax.section, opener)

    def read_call(self) -> Steps[bool]:
        words: dict[Slot, str] = {}
        waiting = list(self._words)
        while waiting:
            stops = word_stops([literal for _, literal in waiting])
            yield from self.scan.blanks()
            text = yield from self.scan.run(_word(stops))
            slots = [waiting[0][0]]
            literal = waiting.pop(0)[1]
            while waiting and chunks(literal):
                found = yield from self.scan.behind_blanks(chunks(literal)[0])
                if found is not None:
                    self.scan.put_back(found)
                    break
                # A marker further on would say that an id was left out.
                slot, literal = waiting.pop(0)
                slots.append(slot)
            for chunk in chunks(literal):
                found = yield from self.scan.behind_blanks(chunk)
                if found is None:
                    return False
            words[Slot.NAME if Slot.NAME in slots else slots[0]] = text
        if not words.get(Slot.NAME):
            return False
        return (yield from self._read_arguments(words[Slot.NAME], words.get(Slot.ID) or None))

    def _read_arguments(self, name: str, id: str | None) -> Steps[bool]:
        section = self.section
        closers = (*chunks(section.call_close)[:1], *chunks(section.close)[:1])
        found = yield from self.scan.behind_blanks("{", *closers)
        if found is None and (not self.scan.is_over or self.scan.text.strip()):
            return False
        if found is None and not self._words[-1][1].strip():
            # Nothing says that the name is whole.
            raise EndOfText
        if self._before_id:
            self._held = []
        else:
            self.call(name, id)
        self.scan.put_back(found or "")
        try:
            if found == "{":
                yield from self.json_arguments()
            elif found or not self.scan.is_cut:
                self.give_arguments("{}")
            if self._before_id:
                id = (yield from self._read_id()) or id
        finally:
            # At the end of the text too.
            if self._held is not None:
                arguments, self._held = "".join(self._held), None
                self.call(name, id)
                self.give_arguments(arguments)
        return True

    def _read_id(self) -> Steps[str]:
        """The id behind the arguments, "" where it is left out."""
        for chunk in self._before_id:
            found = yield from self.scan.behind_blanks(chunk)
            if found is None:
                return ""
        yield from self.scan.blanks()
        return (yield from self.scan.run(_word("")))

    def give_arguments(self, text: str) -> None:
        if self._held is None:
            super().give_arguments(text)
        else:
            self._held.append(text)


@lru_cache(maxsize=64)
def _word(stops: str) -> re.Pattern[str]:
    """Names and ids, up to any of the characters `stops`, written as in a class of these."""
    return re.compile(rf"""[^\s{{}}<>\[\]"'(){stops}]*""")
