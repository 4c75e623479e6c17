"""Functionary 3.2: each part of an answer begins with its recipient, on a line of its own.

    >>>all
    Let me look.>>>get_weather
    {"city": "Paris"}

The prompt ends with the first `>>>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmd.chat.answer.scan import Steps
from llmd.chat.calls.base import GrammarRules, ToolSchemas
from llmd.chat.calls.scripted import ScriptedReader
from llmd.chat.families.whole import WholeReader, tail_behind
from llmd.core.message import Tool

_HEADER = "<|start_header_id|>assistant<|end_header_id|>\n\n"
_MARK = ">>>"
_CONTENT = "all\n"


@dataclass(frozen=True, slots=True)
class Functionary32:
    ends: tuple[str, ...] = ("<|eot_id|>", "<|eom_id|>")
    thought: None = None

    @property
    def header(self) -> str:
        return _HEADER

    def prompt_tail(self, prompt: str) -> str:
        return tail_behind(_HEADER, prompt)

    def reader(
        self,
        prompt_tail: str,
        tools: ToolSchemas,
        *,
        splits_thoughts: bool,
        keeps_prefill: bool = False,
    ) -> WholeReader:
        parts = FunctionaryReader(tools, self.ends)
        return WholeReader(parts, prompt_tail, keeps_prefill=keeps_prefill)

    def grammar(
        self,
        rules: GrammarRules,
        tools: Sequence[Tool],
        *,
        in_thought: bool,
        needs_call: bool,
        many: bool,
        content: str | None,
    ) -> str:
        calls = {name: rules.reserve(f"call_{name}") for name in ToolSchemas(tools).names}
        starts = [f"{rules.literal(_start(name))} {rule}" for name, rule in calls.items()]
        further = ""
        if many:
            options = [f"{rules.literal(_MARK + _start(name))} {calls[name]}" for name in calls]
            further = f" ({rules.choice(options)})?" if options else ""
        for name, rule in calls.items():
            rules.define(rule, rules.json(ToolSchemas(tools).object_schema(name)) + further)
        # One lazy text for each name: the first whose suffix comes decides.
        told = [f"{rules.until(_MARK + _start(name))} {rule}" for name, rule in calls.items()]
        if not needs_call:
            told.append(f"({content})" if content else "/(?s:.*)/")
        return rules.add(
            "answer", rules.choice([*starts, f"{rules.literal(_CONTENT)} {rules.choice(told)}"])
        )


def _start(recipient: str) -> str:
    return f"{recipient}\n"


class FunctionaryReader(ScriptedReader):
    """Reads an answer from its first `>>>` on, which may be missing."""

    def __init__(self, tools: ToolSchemas, ends: tuple[str, ...]) -> None:
        self._starts = {_start(name): name for name in tools.names}
        self._markers = tuple(f"{_MARK}{start}" for start in (*self._starts, _CONTENT))
        self._ends = ends
        super().__init__("")

    def read(self) -> Steps[None]:
        yield from self.scan.behind_blanks(_MARK)
        start = yield from self.scan.option(*self._starts, _CONTENT)
        if start is None:
            self.give_up()
        else:
            self.drop()
        while True:
            start = yield from self._read_part(start or _CONTENT)

    def _read_part(self, start: str) -> Steps[str]:
        """Reads one part, up to and with the start of the next one, which it gives."""
        name = self._starts.get(start)
        if name is not None:
            self.call(name)
            yield from self.json_arguments()
            marker = yield from self.scan.behind_blanks(*self._markers)
            if marker is not None:
                return marker.removeprefix(_MARK)
        while True:
            marker = yield from self.scan.until(self.give_text, *self._markers, *self._ends)
            if marker not in self._ends:
                return marker.removeprefix(_MARK)
            blanks = yield from self.scan.blanks()
            if self.scan.text:
                self.give_text(marker + blanks)
