"""What a chat template accepts, found by rendering small conversations.

A template that cannot do a thing either raises or drops the text without a word. So every probe is
made of words that occur nowhere else, and it passes when all of them are in the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product
from typing import Any

from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, Tool, ToolCall
from llmd.errors import TemplateFailed


class IdForm(Enum):
    """How the ids of tool calls must look."""

    ANY = "any"
    NINE_ALPHANUMERICS = "nine_alphanumerics"
    FUNCTION_AND_NUMBER = "function_and_number"
    """`functions.NAME:N`: the template writes the id in the place of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallShape:
    """The form of a message with calls in which the template writes them."""

    content: str | None
    """What stands for no content."""
    has_text_arguments: bool
    id_form: IdForm


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateAbilities:
    """Each is True when the template writes such a conversation in full. `late_system` is a system
    message after others, `several_system` two of them at the start; `null_content` and
    `content_beside_calls` speak of a message with calls, `broken_arguments` of calls whose
    arguments are no JSON; an `orphan_result` follows no call. `call_shape` is None for a template
    that never writes calls.
    """

    tools: bool
    system: bool
    late_system: bool
    several_system: bool
    developer: bool
    users_in_a_row: bool
    assistants_in_a_row: bool
    assistant_first: bool
    empty_assistant: bool
    call_shape: CallShape | None
    null_content: bool
    broken_arguments: bool
    content_beside_calls: bool
    content_before_calls: bool
    parallel_calls: bool
    calls_one_by_one: bool
    thought_beside_content_and_calls: bool
    tool_role: bool
    orphan_result: bool
    user_after_tool: bool
    call_ids: bool


_USER, _USER_2 = "zquserone", "zqusertwo"
_ASSISTANT, _ASSISTANT_2 = "zqassistantone", "zqassistanttwo"
_SYSTEM, _SYSTEM_2 = "zqsystemone", "zqsystemtwo"
_NAME, _NAME_2, _LISTED = "zqcalled", "zqfurther", "zqlisted"
_VALUE, _VALUE_2, _BROKEN = "zqvalueone", "zqvaluetwo", "zqbroken"
_RESULT, _RESULT_2, _THOUGHT = "zqresultone", "zqresulttwo", "zqthought"

_IDS = {
    IdForm.ANY: ("call_zqidentone", "call_zqidenttwo"),
    IdForm.NINE_ALPHANUMERICS: ("zqident01", "zqident02"),
    IdForm.FUNCTION_AND_NUMBER: (f"functions.{_NAME}:0", f"functions.{_NAME_2}:1"),
}
_TOOL = Tool(
    name=_LISTED,
    definition={
        "type": "function",
        "function": {
            "name": _LISTED,
            "description": "Looks it up.",
            "parameters": {
                "type": "object",
                "properties": {"zqkey": {"type": "string", "description": "What."}},
                "required": ["zqkey"],
            },
        },
    },
)


def probe_abilities(template: ChatTemplate) -> TemplateAbilities:
    """Renders some thirty small conversations: a few milliseconds, once per template."""
    plain, with_tools = _Probe(template, ()), _Probe(template, (_TOOL,))
    return TemplateAbilities(
        tools=with_tools.writes([_user()], _LISTED, _USER),
        **_probe_roles(plain, template.source),
        **_probe_calls(with_tools, with_tools.call_shape()),
    )


def _user(content: str = _USER) -> Message:
    return Message(role="user", content=content)


def _assistant(content: str = _ASSISTANT) -> Message:
    return Message(role="assistant", content=content)


def _system(content: str = _SYSTEM, role: str = "system") -> Message:
    return Message(role=role, content=content)


class _Probe:
    def __init__(self, template: ChatTemplate, tools: tuple[Tool, ...]) -> None:
        self._template = template
        self._tools = tools

    def text(self, messages: Sequence[Message]) -> str | None:
        """The prompt, or None when the template fails."""
        try:
            return self._template.render(messages, self._tools).text
        except TemplateFailed:
            return None

    def writes(self, messages: Sequence[Message], *words: str) -> bool:
        text = self.text(messages)
        # Some templates change the case.
        return text is not None and all(word in text.lower() for word in words)

    def call_shape(self) -> CallShape | None:
        for shape in (
            CallShape(content=content, has_text_arguments=is_text, id_form=id_form)
            for id_form, content, is_text in product(IdForm, ("", None), (False, True))
        ):
            call = _call_message(shape)
            for messages in ([_user(), call, _result(shape)], [_user(), call]):
                text = self.text(messages)
                if text is None or not (_NAME in text and _VALUE in text):
                    continue
                # Python's own spelling of a dict: the template expects JSON text.
                if shape.has_text_arguments or f"'zqkey': '{_VALUE}'" not in text:
                    return shape
        return None


def _call(shape: CallShape, number: int = 0) -> ToolCall:
    value = (_VALUE, _VALUE_2)[number]
    arguments: dict[str, Any] | str = {"zqkey": value}
    if shape.has_text_arguments:
        arguments = f'{{"zqkey": "{value}"}}'
    name = (_NAME, _NAME_2)[number]
    return ToolCall(id=_IDS[shape.id_form][number], name=name, arguments=arguments)


def _call_message(shape: CallShape, *numbers: int) -> Message:
    calls = tuple(_call(shape, number) for number in numbers or (0,))
    return Message(role="assistant", content=shape.content, tool_calls=calls)


def _result(shape: CallShape | None, number: int = 0) -> Message:
    return Message(
        role="tool",
        content=(_RESULT, _RESULT_2)[number],
        name=(_NAME, _NAME_2)[number],
        tool_call_id=_IDS[shape.id_form if shape else IdForm.ANY][number],
    )


def _probe_roles(probe: _Probe, source: str) -> dict[str, Any]:
    early, late = _system(), _system(_SYSTEM_2)
    turn, last = (_user(), _assistant()), _user(_USER_2)
    words = (_USER, _USER_2)
    return {
        "system": probe.writes([early, _user()], _SYSTEM, _USER),
        "late_system": probe.writes([*turn, late, last], _SYSTEM_2, *words)
        and probe.writes([early, *turn, late, last], _SYSTEM, _SYSTEM_2, *words),
        "several_system": probe.writes([early, late, _user()], _SYSTEM, _SYSTEM_2, _USER),
        # A template that prints any role would print this one; its model still does not know it.
        "developer": "developer" in source
        and probe.writes([_system(role="developer"), _user()], _SYSTEM, _USER),
        "users_in_a_row": probe.writes([_user(), last], *words),
        "assistants_in_a_row": probe.writes(
            [*turn, _assistant(_ASSISTANT_2), last], _ASSISTANT, _ASSISTANT_2, *words
        ),
        "assistant_first": probe.writes([_assistant(), _user()], _ASSISTANT, _USER),
        "empty_assistant": probe.writes([_user(), _assistant(""), last], *words),
    }


def _probe_calls(probe: _Probe, shape: CallShape | None) -> dict[str, Any]:
    if shape is None:
        opening = [_user(), _assistant()]
        return {
            "call_shape": None,
            **dict.fromkeys(
                ("null_content", "broken_arguments", "content_beside_calls", "call_ids"), True
            ),
            **dict.fromkeys(("content_before_calls", "parallel_calls", "calls_one_by_one"), True),
            "thought_beside_content_and_calls": True,
            "tool_role": probe.writes([*opening, _result(None)], _RESULT),
            "orphan_result": True,
            "user_after_tool": probe.writes(
                [*opening, _result(None), _user(_USER_2)], _RESULT, _USER_2
            ),
        }
    call, result = _call_message(shape), _result(shape)
    null = probe.text([_user(), replace(call, content=None), result])
    broken = replace(_call(shape), arguments=f"{_BROKEN} {{")
    talking = replace(call, content=_ASSISTANT)
    thinking = replace(talking, reasoning=_THOUGHT)
    one_by_one = [call, result, _call_message(shape, 1), _result(shape, 1)]
    both = [_call_message(shape, 0, 1), result, _result(shape, 1)]
    orphan = replace(result, name=None)
    id_shown = _IDS[shape.id_form][0]
    return {
        "call_shape": shape,
        "null_content": null is not None and _NAME in null and "None" not in null,
        "broken_arguments": probe.writes(
            [_user(), replace(call, tool_calls=(broken,)), result], _BROKEN
        ),
        "content_beside_calls": probe.writes([_user(), talking, result], _ASSISTANT, _VALUE),
        "content_before_calls": probe.writes(
            [_user(), _assistant(), call, result, _assistant(_ASSISTANT_2), _user(_USER_2)],
            _ASSISTANT,
            _VALUE,
        ),
        "parallel_calls": probe.writes([_user(), *both], _VALUE, _VALUE_2),
        "calls_one_by_one": probe.writes([_user(), *one_by_one], _VALUE, _VALUE_2),
        "thought_beside_content_and_calls": probe.text([_user(), talking, result]) is None
        or probe.text([_user(), thinking, result]) is not None,
        "tool_role": probe.writes([_user(), call, result], _RESULT),
        "orphan_result": probe.writes([_user(), orphan], _RESULT)
        and probe.writes([orphan, _user(_USER_2)], _RESULT),
        "user_after_tool": probe.writes([_user(), call, result, _user(_USER_2)], _RESULT, _USER_2),
        "call_ids": probe.writes([_user(), call, result], id_shown),
    }
