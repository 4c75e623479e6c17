"""What is known by heart about a family of templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmd.chat.answer.syntax import AnswerSyntax, ThoughtSyntax
from llmd.chat.calls.base import CallSyntax, GrammarRules
from llmd.core.message import Tool


class WholeSyntax(AnswerSyntax, Protocol):
    """A framing of whole answers that is not thought, content and calls between markers."""

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
        """Adds rules and names the one that matches a whole answer, `in_thought` with a thought
        open at its start: thoughts are free, calls are valid calls of `tools` (none without any),
        at least one if `needs_call` and at most one unless `many`. `content` is a Lark expression
        that the final text has to match, None where it is free.
        """


@dataclass(frozen=True, slots=True)
class Family:
    """What derivation cannot know about a template; None where it is to be derived."""

    name: str
    whole: WholeSyntax | None = None
    """Everything. Nothing else is set then."""
    calls: CallSyntax | None = None
    thought: ThoughtSyntax | None = None
    content: tuple[str, str] | None = None
    """What stands around content; both may be missing in an answer."""
    ends: tuple[str, ...] = ()
    """Texts that end an answer, to be cut off."""
    noise: tuple[str, ...] = ()
    """Markers that mean nothing where they stand in content, and are dropped."""
