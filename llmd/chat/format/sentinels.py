"""Small conversations of words that occur nowhere else, rendered by a template: what stands
between the words is the template's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, Tool, ToolCall
from llmd.errors import LlmdError

USER, ANSWER, THOUGHT, RESULT = "zquser", "zqanswer", "zqthought", "zqresult"
AGAIN = "zqagain"
NAMES = ("zqfirstname", "zqothername")
KEYS = ("zqfirstkey", "zqotherkey")
VALUES = ("zqfirstvalue", "zqothervalue")
NUMBER = 7304
IDS = ("zqid00001", "zqid00002")
"""Nine letters and digits, as some templates insist."""

_WORDS = (USER, ANSWER, THOUGHT, RESULT, AGAIN, *NAMES, *KEYS, *VALUES, *IDS)


def is_literal(text: str) -> bool:
    """Whether there is a text, and it is all the template's own."""
    return bool(text) and not any(word in text for word in _WORDS)


TOOLS = tuple(
    Tool(
        name=name,
        definition={
            "type": "function",
            "function": {
                "name": name,
                "description": "Looks it up.",
                "parameters": {
                    "type": "object",
                    "properties": {key: {"type": "string", "description": "What."} for key in KEYS},
                    "required": [],
                },
            },
        },
    )
    for name in NAMES
)


@dataclass(frozen=True, slots=True)
class CallForm:
    """The form of calls in which a template writes them."""

    content: str | None = ""
    has_text_arguments: bool = False
    has_named_ids: bool = False
    """The id carries the name: `functions.NAME:0`."""
    needs_results: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `NAMES[name]`."""

    name: int
    arguments: Mapping[str, Any]


class Sentinels:
    """Renders sentinels with one template. Gives what it writes behind the user's word, None where
    it fails.
    """

    def __init__(self, template: ChatTemplate, kwargs: Mapping[str, Any] | None = None) -> None:
        self._template = template
        self._kwargs = kwargs or {}

    def prompt(self, kwargs: Mapping[str, Any] | None = None) -> str | None:
        return self._behind(USER, [_user()], kwargs, is_prompt=True)

    def prompt_behind_result(self, form: CallForm) -> str | None:
        """What stands between a tool's result and the answer."""
        call = Call(0, {KEYS[0]: VALUES[0]})
        messages = [_user(), _assistant(form.content, calls=_calls(form, [call])), _result(form, 0)]
        return self._behind(RESULT, messages, None, is_prompt=True)

    def whole_prompt(self, kwargs: Mapping[str, Any]) -> str | None:
        """The prompt from its start, for what changes in the system's text; without tools, beside
        which some templates say nothing of thinking.
        """
        return self._render([_user()], kwargs, is_prompt=True, tools=())

    def lists_tools(self) -> bool:
        """Whether a prompt names the tools that there are."""
        text = self._render([_user()], {}, is_prompt=True)
        return text is not None and all(name in text for name in NAMES)

    def writes_thoughts(self, form: CallForm) -> bool:
        """Whether the thought of a message with calls stands in the prompt behind their result."""
        call = Call(0, {KEYS[0]: VALUES[0]})
        message = _assistant(form.content, THOUGHT, _calls(form, [call]))
        text = self._render([_user(), message, _result(form, 0)], {}, is_prompt=True)
        return text is not None and THOUGHT in text

    def answer(self, *, thought: str | None = None) -> str | None:
        messages = [_user(), _assistant(ANSWER, thought)]
        text = self._behind(USER, messages)
        if text is None:
            # Some templates insist on a user's turn at the end.
            text = self._behind(USER, [*messages, Message(role="user", content=AGAIN)])
        return text

    def calls(
        self,
        form: CallForm,
        calls: Sequence[Call],
        *,
        content: str | None = None,
        thought: str | None = None,
    ) -> str | None:
        """The text of a message of `calls`, None where it is not there in full."""
        message = _assistant(content or form.content, thought, _calls(form, calls))
        results = [_result(form, number) for number in range(len(calls))]
        messages = [_user(), message, *(results if form.needs_results else [])]
        text = self._behind(USER, messages)
        words = [NAMES[call.name] for call in calls]
        words += [str(value) for call in calls for value in call.arguments.values()]
        if text is None or not all(word in text for word in words):
            return None
        return text.partition(RESULT)[0]

    def call_form(self) -> CallForm | None:
        """The first form of calls that the template writes, None where it writes none."""
        call = Call(0, {KEYS[0]: VALUES[0]})
        python_text = str(dict(call.arguments))
        for form in (
            CallForm(content, is_text, has_named_ids, needs_results)
            for has_named_ids, content, is_text, needs_results in product(
                (False, True), ("", None), (False, True), (False, True)
            )
        ):
            text = self.calls(form, [call])
            # Python's own spelling of a dict: the template expects JSON text.
            if text is not None and (form.has_text_arguments or python_text not in text):
                return form
        return None

    def _behind(
        self,
        word: str,
        messages: Sequence[Message],
        kwargs: Mapping[str, Any] | None = None,
        *,
        is_prompt: bool = False,
    ) -> str | None:
        text = self._render(messages, kwargs or {}, is_prompt=is_prompt)
        return text.rpartition(word)[2] if text is not None and word in text else None

    def _render(
        self,
        messages: Sequence[Message],
        kwargs: Mapping[str, Any],
        *,
        is_prompt: bool,
        tools: tuple[Tool, ...] = TOOLS,
    ) -> str | None:
        kwargs = {**self._kwargs, **kwargs}
        try:
            return self._template.render(messages, tools, kwargs, is_prompt).text
        except LlmdError:
            return None


def _user() -> Message:
    return Message(role="user", content=USER)


def _assistant(
    content: str | None, thought: str | None = None, calls: tuple[ToolCall, ...] = ()
) -> Message:
    return Message(role="assistant", content=content, reasoning=thought, tool_calls=calls)


def _calls(form: CallForm, calls: Sequence[Call]) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(
            id=_id(form, number),
            name=NAMES[call.name],
            arguments=json.dumps(call.arguments)
            if form.has_text_arguments
            else dict(call.arguments),
        )
        for number, call in enumerate(calls)
    )


def _result(form: CallForm, number: int) -> Message:
    return Message(role="tool", content=RESULT, name=NAMES[number], tool_call_id=_id(form, number))


def _id(form: CallForm, number: int) -> str:
    return f"functions.{NAMES[number]}:{number}" if form.has_named_ids else IDS[number]
