"""Muse: messages to recipients, calls as tags inside of them.

<|start|>assistant to=self<|message|>A thought<|eom|>
<|start|>assistant to=user<|message|>Text<|eot|>
<|start|>assistant to=get_weather<|message|><atem:function_calls>...</atem:function_calls><|eot|>
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmd.chat.answer.syntax import ThoughtSyntax
from llmd.chat.calls.attribute_tags import MUSE
from llmd.chat.calls.base import CallReader, GrammarRules
from llmd.chat.families.messages import (
    Framing,
    Header,
    Kind,
    MessagesReader,
    MessagesSyntax,
    last_match,
)
from llmd.core.message import Tool

_FRAMING = Framing(
    start="<|start|>assistant",
    body="<|message|>",
    ends=("<|eom|>", "<|eot|>"),
    header_starts=("to=",),
)
_RECIPIENT = re.compile(r"to=([^\s<]+)")
_SECTION = MUSE.openers[0]


class MuseReader(MessagesReader):
    def classify(self, header: str) -> Header:
        recipient = last_match(_RECIPIENT, header)
        if recipient == "self":
            return Header(Kind.THOUGHT)
        if recipient in (None, "user"):
            return Header(Kind.TEXT)
        return Header(Kind.CALLS) if self.tools.names else Header(Kind.TEXT, is_text=True)

    def calls_reader(self) -> tuple[str, CallReader]:
        return _SECTION, MUSE.reader(_SECTION, self.tools)


class Muse(MessagesSyntax):
    framing = _FRAMING
    reader_type = MuseReader

    @property
    def thought(self) -> ThoughtSyntax:
        return ThoughtSyntax("to=self<|message|>", "<|eom|>")

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
        body = rules.until("<|eom|>")
        start = rules.literal(_FRAMING.start)
        thought = rules.add("thought", f'" to=self<|message|>" {body} {start}')
        told = rules.add("told", f'" to=user<|message|>" {body} {start}')
        opened = f"{body} {start} " if in_thought else ""
        options = []
        if tools:
            call = _call(rules, tools)
            more = f' ("<|eom|>" {start} {call})*' if many else ""
            options.append(f"({thought} | {told})* {call}{more}")
        if not needs_call:
            final = "/(?s:.*)/" if content is None else f"({content})"
            options.append(f'{thought}* " to=user<|message|>" {final}')
        return rules.add("answer", f"{opened}{rules.choice(options)}")


def _call(rules: GrammarRules, tools: Sequence[Tool]) -> str:
    options = []
    for tool in tools:
        calls = MUSE.grammar(rules, _SECTION, (tool,), many=False)
        options.append(f"{rules.literal(f' to={tool.name}<|message|>{_SECTION}')} {calls}")
    return rules.add("call", rules.choice(options))
