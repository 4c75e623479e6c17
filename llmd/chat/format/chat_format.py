"""ChatFormat: all that is known about how one template's model writes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmd.chat.answer.reader import AnswerReader
from llmd.chat.answer.syntax import AnswerSyntax, MessageSyntax
from llmd.chat.calls.base import ToolSchemas
from llmd.chat.families.family import Family
from llmd.chat.families.llama3 import Llama3
from llmd.chat.families.registry import family_for
from llmd.chat.format.derive import derive_syntax
from llmd.chat.format.fallback import (
    HERMES_CALLS,
    HERMES_EXAMPLE,
    KEY,
    NAME,
    VALUE,
    with_tool_paragraph,
)
from llmd.chat.format.self_test import SelfTest, read_back
from llmd.chat.format.sentinels import KEYS, NAMES, VALUES, Call, CallForm, Sentinels
from llmd.chat.format.thinking import ThinkingControl, find_thinking
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, Tool
from llmd.core.request import ThinkingWish

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """How answers to one template's prompts are read, and how its thinking is controlled.

    `origin` is "derived", a family's name, "bare JSON" where calls have no marker, "fallback" where
    they are llmd's own, or "text only".
    `writes_thoughts` says that the template writes the thought of a past message with calls, so
    that one which a client dropped should be put back. `notes` are what the self-test found.
    """

    syntax: AnswerSyntax
    origin: str
    thinking: ThinkingControl = ThinkingControl()
    writes_thoughts: bool = False
    call_example: str = ""
    """For the system paragraph that describes tools; empty where the template lists them."""
    notes: tuple[str, ...] = ()

    def reader(
        self,
        prompt: str,
        tools: Sequence[Tool],
        *,
        splits_thoughts: bool = True,
        keeps_prefill: bool = False,
    ) -> AnswerReader:
        """A reader for one answer to the rendered `prompt`; without `tools` call markers are text.
        See AnswerSyntax.reader.
        """
        return self.syntax.reader(
            self.syntax.prompt_tail(prompt),
            ToolSchemas(tools),
            splits_thoughts=splits_thoughts,
            keeps_prefill=keeps_prefill,
        )

    def prepare(
        self, messages: Sequence[Message], tools: Sequence[Tool]
    ) -> tuple[tuple[Message, ...], tuple[Tool, ...]]:
        """What to render: tools are described in a system paragraph where the template does not
        list them.
        """
        if not self.call_example or not tools:
            return tuple(messages), tuple(tools)
        return with_tool_paragraph(messages, tools, self.call_example), ()

    def thinking_kwargs(self, wish: ThinkingWish) -> dict[str, Any]:
        """The template's keyword arguments for `wish`; empty where it has no say in it."""
        return self.thinking.kwargs(wish)

    def describe(self) -> list[tuple[str, str]]:
        """What a person wants to know, as labels and texts."""
        syntax, thinking = self.syntax, self.thinking
        thought = syntax.thought
        calls = getattr(syntax, "calls", None)
        efforts = (f"{name}={'|'.join(levels)}" for name, levels in thinking.efforts)
        modes = (f"{name}={on}|{off}" for name, on, off in thinking.modes)
        rows = {
            "format": self.origin,
            "thoughts": f"{thought.open} ... {thought.close}" if thought else "",
            "calls": f"{type(calls).__name__} behind {calls.openers[0]}" if calls else "",
            "ends": " ".join(syntax.ends),
            "thinking": ", ".join((*thinking.flags, *modes, *efforts, *thinking.budgets)),
            "self-test": "; ".join(self.notes) or "passed",
        }
        return [(label, text) for label, text in rows.items() if text]


def find_format(template: ChatTemplate, *, end_texts: tuple[str, ...] = ()) -> ChatFormat:
    """The format of `template`, found by rendering some thirty small conversations: given by hand
    for the families that a template does not show, else derived, else a fallback. Whatever does
    not read back what the template itself writes is not used, and logged. `end_texts` are the
    texts of the model's end-of-generation tokens.
    """
    sentinels = Sentinels(template)
    form = sentinels.call_form() if "tool_calls" in template.source else None
    found = _find_syntax(template, sentinels, form, end_texts)
    example = found.call_example
    if not example and form is not None and not sentinels.lists_tools():
        example = _written_example(sentinels, form, found.syntax)
    return replace(
        found,
        call_example=example,
        thinking=find_thinking(template.source, sentinels.whole_prompt),
        writes_thoughts=sentinels.writes_thoughts(form or CallForm()),
    )


def _find_syntax(
    template: ChatTemplate,
    sentinels: Sentinels,
    form: CallForm | None,
    end_texts: tuple[str, ...],
) -> ChatFormat:
    """The first syntax that reads all back, else the one that reads most, else a fallback. Thoughts
    that are read back wrong stay in the text.
    """
    family = family_for(template.source)
    tried: list[tuple[Family, AnswerSyntax, SelfTest]] = []
    notes: list[str] = []
    for known in (*((family,) if family else ()), Family("derived")):
        syntax = known.whole or derive_syntax(template, known, form, end_texts=end_texts)
        test = read_back(template, syntax, form)
        tried.append((known, syntax, test))
        for fault in test.faults:
            notes.append(f"{known.name}: {fault}")
            logger.warning("the %s format does not fit the chat template: %s", known.name, fault)
        if not test.faults:
            break
    bare = _bare_objects(sentinels, form, syntax)
    if bare is not None and not test.reads_calls:
        tried.insert(0, (Family("bare JSON"), bare, read_back(template, bare, form)))
    known, best, test = min(tried, key=lambda each: len(each[2].faults))
    if not test.text_faults and test.reads_calls:
        best = _without_wrong_thought(best, test)
        if not isinstance(best, MessageSyntax) or best.calls is not None:
            return ChatFormat(syntax=best, origin=known.name, notes=tuple(notes))
    # Whatever was tried last is a frame of thought and text, with or without calls.
    derived = _without_wrong_thought(syntax, test := tried[-1][2])
    assert isinstance(derived, MessageSyntax)
    if test.text_faults:
        plain = MessageSyntax(header=derived.header, ends=derived.ends)
        return ChatFormat(syntax=plain, origin="text only", notes=tuple(notes))
    return ChatFormat(
        syntax=replace(derived, calls=HERMES_CALLS),
        origin="fallback",
        call_example=HERMES_EXAMPLE,
        notes=tuple(notes),
    )


def _bare_objects(
    sentinels: Sentinels, form: CallForm | None, syntax: AnswerSyntax
) -> Llama3 | None:
    """The syntax of calls that are JSON objects without any marker; None where `syntax`, which was
    derived, shows that there are markers or thoughts.
    """
    if form is None or not isinstance(syntax, MessageSyntax) or syntax.calls or syntax.thought:
        return None
    text = sentinels.calls(form, [Call(0, {KEYS[0]: VALUES[0]})]) or ""
    key = next((key for key in ("parameters", "arguments") if f'"{key}"' in text), None)
    return Llama3(syntax.header, syntax.ends, argument_key=key) if key else None


def _without_wrong_thought(syntax: AnswerSyntax, test: SelfTest) -> AnswerSyntax:
    """`syntax`, with thoughts left in the text if they were read back wrong."""
    if isinstance(syntax, MessageSyntax) and test.thought_faults:
        return replace(syntax, thought=None)
    return syntax


def _written_example(sentinels: Sentinels, form: CallForm, syntax: AnswerSyntax) -> str:
    """A call as the template writes it, with words of an example."""
    text = sentinels.calls(form, [Call(0, {KEYS[0]: VALUES[0]})]) or ""
    text = text[text.find(syntax.header) + len(syntax.header) :] if syntax.header in text else text
    calls = getattr(syntax, "calls", None)
    openers = calls.openers if calls else ()
    starts = [text.find(opener) for opener in openers if opener in text]
    last = text.rfind(VALUES[0])
    ends = [text.find(end, last) for end in syntax.ends if text.find(end, last) >= 0]
    text = text[min(starts, default=0) : min(ends, default=len(text))].strip()
    for sentinel, word in ((NAMES[0], NAME), (KEYS[0], KEY), (VALUES[0], VALUE)):
        text = text.replace(sentinel, word)
    return text
