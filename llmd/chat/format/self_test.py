"""Reading back what a template itself writes for known answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from llmd.chat.answer.answer import Answer, AnswerCall, join_pieces
from llmd.chat.answer.piece import Piece
from llmd.chat.answer.syntax import AnswerSyntax
from llmd.chat.calls.base import ToolSchemas
from llmd.chat.format.sentinels import CallForm
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, Tool, ToolCall
from llmd.errors import LlmdError

_LONGEST_SHOWN = 80
_QUESTION = "What is the weather like?"
_CONTENT = 'It is *sunny*, 21 < 25 degrees.\nEnjoy "it"!'
_THOUGHT = "The user asks\nfor the weather; easy."
_FIRST: dict[str, Any] = {"city": "S\u00e3o Paulo", "days": 3}
_SECOND: dict[str, Any] = {"text": 'a "b"\n{c} <d>', "options": {"x": [1, None]}, "on": False}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "get_weather": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "set_note": {
        "text": {"type": "string"},
        "options": {"type": "object"},
        "on": {"type": "boolean"},
    },
}
_TOOLS = tuple(
    Tool(
        name=name,
        definition={
            "type": "function",
            "function": {
                "name": name,
                "description": "Does it.",
                "parameters": {"type": "object", "properties": properties, "required": []},
            },
        },
    )
    for name, properties in _SCHEMAS.items()
)


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What was read back wrong, a line each: of a text, of a text with a thought, of calls."""

    text_faults: tuple[str, ...]
    thought_faults: tuple[str, ...]
    call_faults: tuple[str, ...]
    num_calls: int
    """How many messages with calls the template wrote."""

    @property
    def faults(self) -> tuple[str, ...]:
        return (*self.text_faults, *self.thought_faults, *self.call_faults)

    @property
    def reads_calls(self) -> bool:
        """Calls are read, if perhaps not all."""
        return not self.num_calls or len(self.call_faults) < self.num_calls


def read_back(template: ChatTemplate, syntax: AnswerSyntax, form: CallForm | None) -> SelfTest:
    """Renders six answers and reads each with `syntax`, whole and character by character. What
    the template does not write is not asked for. `form` is None where it writes no calls.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[str] = []
    num_calls = 0
    for name, message in _messages(form):
        written = _written(template, syntax, message, form)
        if written is None:
            continue
        num_calls += bool(message.tool_calls)
        expected = _expected(message, written)
        tools = ToolSchemas(_TOOLS)
        whole = _read(syntax, tools, [written])
        fault = _difference(expected, whole)
        if fault is None and _read(syntax, tools, list(written)) != whole:
            fault = "it reads otherwise in pieces"
        if fault is not None:
            faults = calls if message.tool_calls else thoughts if message.reasoning else texts
            faults.append(f"{name}: {fault}")
    return SelfTest(tuple(texts), tuple(thoughts), tuple(calls), num_calls)


def _messages(form: CallForm | None) -> Iterator[tuple[str, Message]]:
    plain = Message(role="assistant", content=_CONTENT)
    yield "text", plain
    yield "thought and text", replace(plain, reasoning=_THOUGHT)
    if form is None:
        return
    arguments = (_FIRST, _SECOND)
    calls = tuple(
        ToolCall(
            id=f"functions.{name}:{number}" if form.has_named_ids else f"selftst0{number}",
            name=name,
            arguments=json.dumps(arguments[number])
            if form.has_text_arguments
            else arguments[number],
        )
        for number, name in enumerate(_SCHEMAS)
    )
    call = Message(role="assistant", content=form.content, tool_calls=calls[:1])
    yield "call", call
    yield "two calls", replace(call, tool_calls=calls)
    yield "thought and call", replace(call, reasoning=_THOUGHT)
    yield "text and call", replace(call, content=_CONTENT)


def _written(
    template: ChatTemplate, syntax: AnswerSyntax, message: Message, form: CallForm | None
) -> str | None:
    """What the template writes for `message`, from the header to the end of the turn; None where
    it fails or leaves a part out that cannot be told.
    """
    messages = [Message(role="user", content=_QUESTION), message]
    if form is not None and form.needs_results:
        messages += [
            Message(role="tool", content="Done.", name=call.name, tool_call_id=call.id)
            for call in message.tool_calls
        ]
    try:
        text = template.render(messages, _TOOLS, None, False).text
    except LlmdError:
        return None
    _, found, behind = text.rpartition(_QUESTION)
    if not found or syntax.header not in behind:
        return None
    written = behind[behind.index(syntax.header) + len(syntax.header) :]
    thought = syntax.thought
    if thought and thought.open in written and thought.close not in written:
        # Written as an answer within a thought, which no model does.
        return None
    last = max((written.rfind(word) for word in _last_words(message)), default=-1)
    if last < 0:
        return None
    ends = [at for end in syntax.ends if (at := written.find(end, last)) >= 0]
    return written[: min(ends, default=len(written))]


def _last_words(message: Message) -> Iterator[str]:
    yield "Enjoy"
    yield from ("days", "options")


def _expected(message: Message, written: str) -> Answer:
    """`message` less what the template left out."""
    return Answer(
        content=_CONTENT if message.content and "Enjoy" in written else "",
        reasoning=_THOUGHT if message.reasoning and "easy." in written else "",
        calls=tuple(
            AnswerCall(call.name, None, json.dumps(_arguments(call)))
            for call in message.tool_calls
            if call.name in written
        ),
    )


def _arguments(call: ToolCall) -> Any:
    return json.loads(call.arguments) if isinstance(call.arguments, str) else call.arguments


def _read(syntax: AnswerSyntax, tools: ToolSchemas, feeds: list[str]) -> Answer:
    reader = syntax.reader("", tools, splits_thoughts=True)
    pieces: list[Piece] = []
    for text in feeds:
        pieces += reader.feed(text)
    pieces += reader.flush()
    return join_pieces(pieces)


def _difference(expected: Answer, answer: Answer) -> str | None:
    if expected.calls and expected.content and not answer.content:
        # Some templates write what is said beside calls as a thought.
        thought = expected.reasoning or expected.content
        expected = replace(expected, content="", reasoning=thought)
    for name in ("content", "reasoning"):
        wanted, got = getattr(expected, name).strip(), getattr(answer, name).strip()
        if wanted != got:
            return f"{name} {_shown(got)} in place of {_shown(wanted)}"
    wanted_names = [call.name for call in expected.calls]
    names = [call.name for call in answer.calls]
    if wanted_names != names:
        return f"calls of {names} in place of {wanted_names}"
    for call, other in zip(expected.calls, answer.calls, strict=True):
        try:
            is_same = json.loads(call.arguments) == json.loads(other.arguments)
        except ValueError:
            is_same = False
        if not is_same:
            return f"arguments {_shown(other.arguments)} in place of {_shown(call.arguments)}"
    return None


def _shown(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
