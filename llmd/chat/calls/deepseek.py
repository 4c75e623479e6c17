"""The calls of DeepSeek R1 and V3, which fence their arguments, and of V3.1, which does not:

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather
```json
{"city": "Paris"}
```<｜tool▁call▁end｜><｜tool▁calls▁end｜>

<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>ping<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmd.chat.answer.scan import Steps
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.marked import MarkedReader
from llmd.core.message import Tool

_SECTION = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
# Distillations misspell it.
_SECTION_VARIANTS = ("<｜tool_calls_begin｜>", "<｜tool calls begin｜>", "<｜tool▁calls｜>")
_CALL = ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")
_SEPARATOR = "<｜tool▁sep｜>"
_FENCE = "```"
_LINE = re.compile(r"[^\n<{`]*")


@dataclass(frozen=True, slots=True)
class DeepSeekCalls:
    is_fenced: bool

    @property
    def openers(self) -> tuple[str, ...]:
        return (_SECTION[0], *_SECTION_VARIANTS, _CALL[0])

    @property
    def ends_thoughts(self) -> bool:
        return True

    def reader(self, opener: str, tools: ToolSchemas) -> DeepSeekReader:
        return DeepSeekReader(opener)

    def grammar(
        self, rules: GrammarRules, opener: str, tools: Sequence[Tool], *, many: bool
    ) -> str:
        schemas = ToolSchemas(tools)
        options = []
        for name in schemas.names:
            arguments = rules.json(schemas.object_schema(name))
            if self.is_fenced:
                head = rules.literal(f"function{_SEPARATOR}{name}\n```json\n")
                end = f'"\\n"? {rules.literal(_FENCE + _CALL[1])}'
            else:
                head = rules.literal(name + _SEPARATOR)
                end = rules.literal(_CALL[1])
            options.append(f"{head} {arguments} {end}")
        call = rules.add("call", rules.choice(options))
        if opener == _CALL[0]:
            return call
        begin = rules.literal(_CALL[0])
        more = f' ("\\n"? {begin} {call})*' if many else ""
        return rules.add("calls", f'"\\n"? {begin} {call}{more} {rules.literal(_SECTION[1])}')


class DeepSeekReader(MarkedReader):
    """In either style."""

    call_open = _CALL[0]
    closers = (_FENCE, _CALL[1])
    section_close = _SECTION[1]

    def read_head(self) -> Steps[tuple[str, None] | None]:
        name = yield from self._read_name()
        return (name, None) if name else None

    def _read_name(self) -> Steps[str]:
        """The name of the call that begins; empty where none does."""
        scan = self.scan
        yield from scan.blanks()
        first = yield from scan.run(_LINE)
        separator = yield from scan.option(_SEPARATOR)
        name = first
        if separator is not None and first.strip() == "function":
            yield from scan.blanks()
            name = yield from scan.run(_LINE)
        yield from scan.behind_blanks("```json", _FENCE)
        return name.strip()
