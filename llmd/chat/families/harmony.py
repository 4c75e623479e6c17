"""The format of gpt-oss, called harmony: messages in channels, to recipients.

    <|start|>assistant<|channel|>analysis<|message|>A thought<|end|>
    <|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>
    {"city": "Paris"}<|call|>
    <|start|>assistant<|channel|>final<|message|>Text<|return|>

The recipient may stand in front of the channel too. The lines are broken here only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmd.chat.answer.syntax import ThoughtSyntax
from llmd.chat.calls.base import GrammarRules, ToolSchemas
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
    ends=("<|end|>", "<|return|>", "<|call|>"),
    header_starts=("to=", "<|channel|>", "<|constrain|>"),
)
_RECIPIENT = re.compile(r"to=(?!assistant\b)([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class HarmonyReader(MessagesReader):
    def classify(self, header: str) -> Header:
        recipient = last_match(_RECIPIENT, header)
        if recipient is not None:
            name = recipient.removeprefix("functions.")
            if name == recipient and name not in self.tools.names:
                # A tool that is built into the model, and that we do not have.
                return Header(Kind.HIDDEN)
            is_call = bool(self.tools.names)
            return Header(Kind.JSON_CALL, name) if is_call else Header(Kind.TEXT, is_text=True)
        is_thought = last_match(_CHANNEL, header) == "analysis"
        return Header(Kind.THOUGHT if is_thought else Kind.TEXT)


class Harmony(MessagesSyntax):
    framing = _FRAMING
    reader_type = HarmonyReader

    @property
    def thought(self) -> ThoughtSyntax:
        return ThoughtSyntax("<|channel|>analysis<|message|>", "<|end|>")

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
        # `<|call|>` ends the generation, so there never is more than one call.
        thought = rules.until("<|end|>")
        start = rules.literal(_FRAMING.start)
        hidden = rules.add(
            "hidden", f'"<|channel|>" ("analysis" | "commentary") "<|message|>" {thought} {start}'
        )
        last = [_call(rules, tools)] if tools else []
        if not needs_call:
            final = '"<|channel|>final"'
            if content is None:
                last.append(f'{final} "<|message|>" /(?s:.*)/')
            else:
                last.append(f'{final} " <|constrain|>json"? "<|message|>" ({content})')
        opened = f"{thought} {start} " if in_thought else ""
        return rules.add("answer", f"{opened}{hidden}* {rules.choice(last)}")


def _call(rules: GrammarRules, tools: Sequence[Tool]) -> str:
    schemas = ToolSchemas(tools)
    channel = '"<|channel|>" ("commentary" | "analysis")'
    kind = rules.add("kind", '" json" | " "? "<|constrain|>json"')
    options = []
    for name in schemas.names:
        recipient = rules.literal(f" to=functions.{name}")
        arguments = rules.json(schemas.object_schema(name))
        head = f"({recipient} {channel} | {channel} {recipient}) {kind}?"
        options.append(f'{head} "<|message|>" {arguments}')
    return rules.add("call", rules.choice(options))
