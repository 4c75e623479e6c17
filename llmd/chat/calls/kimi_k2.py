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
from llmd.chat.calls.marked import MarkedReader
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


class KimiK2Reader(MarkedReader):
    """See MarkedReader."""

    call_open = _CALL[0]
    closers = (_CALL[1],)
    section_close = _SECTION[1]

    def read_head(self) -> Steps[tuple[str, str] | None]:
        scan = self.scan
        yield from scan.blanks()
        id = yield from scan.run(_ID)
        argument = yield from scan.behind_blanks(_ARGUMENTS)
        found = _NAME.fullmatch(id)
        return None if found is None or argument is None else (found[1], id)
