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
from llmd.chat.calls.section import Section, SectionReader, chunks
from llmd.core.message import Tool


@dataclass(frozen=True, slots=True)
class NamedJson:
    """`words` are the slots between a call's opener and its arguments, the name and perhaps an id,
    each with the literal text behind it.
    """

    section: Section
    words: tuple[tuple[Slot, str], ...] = ((Slot.NAME, ""),)
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
            parts.append(rules.literal(name) if slot is Slot.NAME else "/[A-Za-z0-9_-]{1,64}/")
            if literal:
                parts.append(rules.literal(literal))
        parts.append(rules.json(schemas.object_schema(name)))
        return rules.add(f"call_{name}", " ".join(parts))


class NamedJsonReader(SectionReader):
    """See CallReader. Ids that the model leaves out are forgiven."""

    def __init__(self, syntax: NamedJson, opener: str) -> None:
        self._words = syntax.words
        super().__init__(syntax.section, opener)

    def read_call(self) -> Steps[bool]:
        words: dict[Slot, str] = {}
        waiting = list(self._words)
        while waiting:
            stops = "".join(chunk[0] for _, literal in waiting for chunk in chunks(literal)[:1])
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
        self.call(name, id)
        self.scan.put_back(found or "")
        if found == "{":
            yield from self.json_arguments()
        elif found or not self.scan.is_cut:
            self.give_arguments("{}")
        return True


@lru_cache(maxsize=64)
def _word(stops: str) -> re.Pattern[str]:
    """Names and ids, up to any of the characters `stops`."""
    return re.compile(rf"""[^\s{{}}<>\[\]"'(){re.escape(stops)}]*""")
