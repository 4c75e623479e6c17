"""One grammar for a whole answer, from its first token to its last.

Thoughts are free. A text is free up to an opener of calls: it is a lazy lexeme whose suffix is the
opener, so that behind it only a valid call can stand. Nothing waits for a trigger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from llmd.chat.answer.syntax import AnswerSyntax, MessageSyntax
from llmd.chat.calls.base import CallSyntax, GrammarRules
from llmd.chat.families.family import WholeSyntax
from llmd.core.grammar import GrammarSource
from llmd.core.message import Tool
from llmd.core.request import ToolChoice, ToolChoiceMode
from llmd.errors import Unsupported

_BLANK = r"/[ \t\r\n]/"
_BLANKS = r"[ \t\r\n]{0,64}"


@dataclass(frozen=True, slots=True)
class FinalText:
    """What an answer's text has to be: a Lark expression, and the `rules` that it names. Blanks
    may stand before it where it `is_padded`.
    """

    expression: str
    rules: str = ""
    is_padded: bool = True


def json_text(schema: dict[str, object]) -> FinalText:
    """The JSON text of a document of a normalized `schema`."""
    return FinalText(GrammarRules.json(schema))


def answer_grammar(
    syntax: AnswerSyntax,
    tools: Sequence[Tool],
    choice: ToolChoice,
    *,
    many: bool,
    final: FinalText | None,
    in_thought: bool,
    may_think: bool = True,
) -> GrammarSource | None:
    """What a model may answer, or None where that is anything.

    The parameters of `tools` are normalized schemas. `many` allows several calls in one answer;
    a named tool is called once. `in_thought` tells that the prompt ends inside a thought; without
    `may_think` an answer that is held to something opens none itself. With
    `final` the answer is either calls, where there are tools, or that text, and nothing around it;
    a required call leaves it no place. Raises Unsupported where a call is required of a template
    that has no way to write one.
    """
    needs_call = choice.mode in (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
    if choice.mode is ToolChoiceMode.NAMED:
        tools, many = [tool for tool in tools if tool.name == choice.name], False
    elif choice.mode is ToolChoiceMode.NONE:
        tools = ()
    if isinstance(syntax, MessageSyntax) and syntax.calls is None:
        if needs_call:
            raise Unsupported(
                "this model's chat template has no way to call tools, so a call cannot be "
                "required. Use tool_choice 'auto' or 'none', or serve a model that calls tools.",
                param="tool_choice",
            )
        tools = ()
    if not tools and final is None:
        return None
    rules = GrammarRules()
    content = final.expression if final else None
    if isinstance(syntax, MessageSyntax):
        frame = _Frame(syntax, rules, tools, many=many, may_think=may_think)
        if needs_call:
            body = frame.held_to(None, in_thought=in_thought, is_padded=True)
        elif final is not None:
            body = frame.held_to(final.expression, in_thought=in_thought, is_padded=final.is_padded)
        else:
            body = frame.free(in_thought=in_thought)
    else:
        body = cast(WholeSyntax, syntax).grammar(
            rules,
            tools,
            in_thought=in_thought,
            needs_call=needs_call,
            many=many,
            content=None if needs_call else content,
        )
    rules.add("start", body)
    return GrammarSource("lark", rules.text() + (final.rules if final else ""))


class _Frame:
    """Lowers a MessageSyntax: what FrameReader reads of an answer, as rules."""

    def __init__(
        self,
        syntax: MessageSyntax,
        rules: GrammarRules,
        tools: Sequence[Tool],
        *,
        many: bool,
        may_think: bool,
    ) -> None:
        self._syntax = syntax
        self._rules = rules
        self._many = many
        self._may_think = may_think
        self._thought = syntax.thought
        self._content_open, self._content_close = syntax.content
        calls = syntax.calls if tools else None
        self._bodies = _bodies(rules, calls, tools, many=many)
        self._interrupting = self._bodies if calls is not None and calls.ends_thoughts else {}

    def free(self, *, in_thought: bool) -> str:
        """Any text and thoughts, with valid calls of the tools in between."""
        rules = self._rules
        rest = rules.add("rest", "/(?s:.*)/")
        opened = self._opened()
        # Lazy lexemes: of all that may go on, the marker that is complete first decides.
        thoughts = [f"{opened} {exit}" for exit in self._exits()] if opened else []
        calls = self._behind_text(self._bodies)
        if opened:
            calls += [f"{opened} {call}" for call in self._behind_text(self._interrupting)]
        last = rules.choice([rest, *([f"{opened} {rest}"] if opened else [])])
        if self._many:
            steps = f"{rules.add('step', ' | '.join([*thoughts, *calls]))}* {last}"
        else:
            steps = rules.choice([*calls, last])
            if thoughts:
                steps = f"{rules.add('step', ' | '.join(thoughts))}* {steps}"
        if not in_thought:
            return steps
        begun = [*self._exits()]
        if self._many:
            begun += self._behind_text(self._interrupting)
            return f"{rules.choice(begun)} {steps} | {rest}"
        ended = self._behind_text(self._interrupting)
        return " | ".join([f"{rules.choice(begun)} {steps}", *ended, rest])

    def held_to(self, content: str | None, *, in_thought: bool, is_padded: bool) -> str:
        """Calls, or the expression `content` where there is one, with at most one thought before
        them and nothing else around.
        """
        rules = self._rules
        # One lexeme for each blank: a longer one would take those that the answer begins with.
        blanks = f"{rules.add('blank', _BLANK)}{{0,8}}"
        answer = self._answer(content, is_open=False)
        padded = f"{blanks} {answer}"
        direct = padded if is_padded else answer
        if self._thought is None:
            return direct
        # Where the prompt has opened no thought, models close it all the same now and then.
        stray = f"({blanks} {rules.literal(self._thought.close)})?" if is_padded else ""
        direct = f"{stray} {direct}".lstrip()
        exits = [f"{rules.until(self._thought.close)} {padded}"] if self._thought.close else []
        if self._content_open:
            opened = self._answer(content, is_open=True)
            exits.append(f"{rules.until(self._content_open)} {blanks} {opened}")
        more = self._more()
        exits += [f"{call} {more}" for call in self._behind_text(self._interrupting)]
        after = rules.choice(exits)
        if in_thought:
            return after
        if not self._thought.open or not self._may_think:
            return direct
        return f"{direct} | {blanks} {rules.literal(self._thought.open)} {after}"

    def _answer(self, content: str | None, *, is_open: bool) -> str:
        """`content` or calls; `is_open` tells that the marker in front of content has come."""
        options = [] if content is None else [self._final(content, is_open=is_open)]
        if self._bodies:
            options.append(self._calls(is_open=is_open))
        return self._rules.choice(options)

    def _calls(self, *, is_open: bool) -> str:
        """Calls from the first opener on, with nothing around them but an empty text."""
        calls = f"{self._rules.choice(self._opened_calls())} {self._more()}".rstrip()
        if not self._content_open or not self._content_close:
            return calls
        blanks, literal = self._rules.blanks(), self._rules.literal
        opener = "" if is_open else f"{literal(self._content_open)} {blanks} "
        return f"({opener}{literal(self._content_close)} {blanks})? {calls}"

    def _final(self, content: str, *, is_open: bool) -> str:
        """The expression `content`, perhaps between the template's markers of content."""
        blanks, literal = self._rules.blanks(), self._rules.literal
        close = f" ({blanks} {literal(self._content_close)})?" if self._content_close else ""
        if is_open or not self._content_open:
            return self._rules.add("final", f"{content}{close}")
        # A closer alone would be text.
        opened = f"{literal(self._content_open)} {blanks} {content}{close}"
        return self._rules.add("final", f"{opened} | {content}")

    def _more(self) -> str:
        """Further calls, where there may be any, and the end of the turn. Behind a single call
        nothing needs to follow: the answer is complete.
        """
        if not self._many:
            return ""
        blanks, literal = self._rules.blanks(), self._rules.literal
        more = f"({blanks} {self._rules.choice(self._opened_calls())})*"
        ends = [literal(end.strip()) for end in self._syntax.ends if end.strip()]
        return f"{more} ({blanks} {self._rules.choice(ends)})?" if ends else more

    def _opened_calls(self) -> list[str]:
        return [f"{self._rules.literal(opener)} {body}" for opener, body in self._bodies.items()]

    def _opened(self) -> str:
        """A thought's opener behind blanks, where a thought may begin; "" without any."""
        if self._thought is None or not self._thought.open:
            return ""
        return self._rules.until(self._thought.open, rf"/{_BLANKS}/")

    def _exits(self) -> list[str]:
        """What a thought ends with, along with the thought."""
        close = self._thought.close if self._thought else ""
        markers = dict.fromkeys(filter(None, (close, self._content_open)))
        return [self._rules.until(marker) for marker in markers]

    def _behind_text(self, bodies: dict[str, str]) -> list[str]:
        return [f"{self._rules.until(opener)} {body}" for opener, body in bodies.items()]


def _bodies(
    rules: GrammarRules, calls: CallSyntax | None, tools: Iterable[Tool], *, many: bool
) -> dict[str, str]:
    """For each opener the rule for what follows it."""
    if calls is None:
        return {}
    tools = list(tools)
    return {opener: calls.grammar(rules, opener, tools, many=many) for opener in calls.openers}
