"""Families whose calls are JSON objects in an array, or one alone, behind a marker that their
templates never write, or not so that it could be derived.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from llmd.chat.calls.base import GrammarRules
from llmd.chat.calls.json_objects import JsonObjects, Slot
from llmd.chat.calls.section import Section


@dataclass(frozen=True)
class MarkedSection(Section):
    """`call_open`, or one of `variants`, is the whole opener, blanks inside of it included."""

    variants: tuple[str, ...] = ()
    is_array: bool = True

    @cached_property
    def openers(self) -> tuple[str, ...]:
        return (self.call_open, *self.variants)

    def behind(self, opener: str) -> tuple[str, ...]:
        return ()

    def grammar(self, rules: GrammarRules, opener: str, call: str, *, many: bool) -> str:
        blanks = rules.blanks()
        close = rules.literal(self.call_close) if self.call_close else ""
        if not self.is_array:
            return rules.add("calls", f"{blanks} {call} {close}".rstrip())
        more = f' ("," {blanks} {call})*' if many else ""
        return rules.add(
            "calls", f'{blanks} "[" {blanks} {call}{more} {blanks} "]" {blanks} {close}'
        )


COHERE = JsonObjects(
    MarkedSection("<|START_ACTION|>", "<|END_ACTION|>"),
    name=("tool_name",),
    arguments=("parameters",),
    id=("tool_call_id",),
    layout=(
        *('{"tool_call_id": "', Slot.ID, '", "tool_name": "', Slot.NAME),
        *('", "parameters": ', Slot.ARGUMENTS, "}"),
    ),
)
COMMAND_R_PLUS = JsonObjects(
    MarkedSection("Action:\n```json", "```", variants=("Action: ```json", "Action:```json")),
    name=("tool_name",),
    arguments=("parameters",),
    layout=('{"tool_name": "', Slot.NAME, '", "parameters": ', Slot.ARGUMENTS, "}"),
)
NEMOTRON_V2 = JsonObjects(MarkedSection("<TOOLCALL>", "</TOOLCALL>"))
GRANITE_3 = JsonObjects(MarkedSection("<|tool_call|>", variants=("<tool_call>",)))
PHI_4_MINI = JsonObjects(MarkedSection("<|tool_call|>", "<|/tool_call|>"))
GIGACHAT_3 = JsonObjects(
    MarkedSection(
        "<|message_sep|>\n\nfunction call<|role_sep|>",
        variants=("function call<|role_sep|>",),
        is_array=False,
    )
)
