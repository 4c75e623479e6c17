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
from llmd.chat.calls.scripted import ScriptedReader
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


class DeepSeekReader(ScriptedReader):
    """Reads a section, or calls without one, in either style."""

    def __init__(self, opener: str) -> None:
        self._opener = opener
        super().__init__(opener)

    def read(self) -> Steps[None]:
        scan = self.scan
        marker: str | None = self._opener
        if marker != _CALL[0]:
            marker = yield from scan.behind_blanks(_CALL[0], _SECTION[1])
        while marker == _CALL[0]:
            name = yield from self._read_name()
            if not name:
                self.give_up()
                return
            self.call(name)
            is_whole = yield from self.json_arguments()
            if not is_whole:
                yield from scan.until_any(self.give_text, _CALL[1], _CALL[0], _SECTION[1])
            yield from scan.behind_blanks(_FENCE)
            yield from scan.behind_blanks(_CALL[1])
            self.begin()
            marker = yield from scan.behind_blanks(_CALL[0], _SECTION[1])
        if marker is None or self.is_begun:
            self.give_up()
        else:
            self.drop()

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
