"""The calls of Kimi-K2, whose ids carry the name:

    <|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>
    {"city": "Paris"}<|tool_call_end|><|tool_calls_section_end|>

The line is broken here only. Models leave out the section's markers and the closers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmd.chat.answer.scan import Steps
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.scripted import ScriptedReader
from llmd.core.message import Tool

_SECTION = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
_CALL = ("<|tool_call_begin|>", "<|tool_call_end|>")
_ARGUMENTS = "<|tool_call_argument_begin|>"
_ID = re.compile(r"[^<\s{]*")
_NAME = re.compile(r"(?:functions\.)?(.+?)(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class KimiK2Calls:
    @property
    def openers(self) -> tuple[str, ...]:
        return (_SECTION[0], _CALL[0])

    @property
    def ends_thoughts(self) -> bool:
        return True

    def reader(self, opener: str, tools: ToolSchemas) -> KimiK2Reader:
        return KimiK2Reader(opener)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        ids = rules.add("id_end", f'":" /[0-9]{{1,4}}/ {rules.literal(_ARGUMENTS)}')
        end = rules.literal(_CALL[1])
        options = [
            f"{rules.literal('functions.' + name)} {ids} "
            f"{rules.json(schemas.object_schema(name))} {end}"
            for name in schemas.names
        ]
        call = rules.add("call", rules.choice(options))
        if opener == _CALL[0]:
            return call
        begin = rules.literal(_CALL[0])
        more = f" ({begin} {call})*" if many else ""
        return rules.add("calls", f"{begin} {call}{more} {rules.literal(_SECTION[1])}")


class KimiK2Reader(ScriptedReader):
    """Reads a section, or calls without one."""

    def __init__(self, opener: str) -> None:
        self._opener = opener
        super().__init__(opener)

    def read(self) -> Steps[None]:
        scan = self.scan
        marker: str | None = self._opener
        if marker == _SECTION[0]:
            marker = yield from scan.behind_blanks(_CALL[0], _SECTION[1])
        while marker == _CALL[0]:
            yield from scan.blanks()
            id = yield from scan.run(_ID)
            argument = yield from scan.behind_blanks(_ARGUMENTS)
            found = _NAME.fullmatch(id)
            if found is None or argument is None:
                self.give_up()
                return
            self.call(found[1], id)
            is_whole = yield from self.json_arguments()
            if not is_whole:
                yield from scan.until_any(self.give_text, _CALL[1], _CALL[0], _SECTION[1])
            yield from scan.behind_blanks(_CALL[1])
            self.begin()
            marker = yield from scan.behind_blanks(_CALL[0], _SECTION[1])
        if marker is None or self.is_begun:
            self.give_up()
        else:
            self.drop()
