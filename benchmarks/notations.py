"""Ways in which models are asked for a document, and how they write it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmd.chat.answer.syntax import AnswerSyntax, MessageSyntax, ThoughtSyntax
from llmd.chat.calls.json_objects import JsonObjects
from llmd.chat.calls.pythonic import PythonicCalls
from llmd.chat.calls.section import Section
from llmd.chat.calls.tagged import Tagged
from llmd.chat.families.llama3 import Llama3

HEADER = "<|im_start|>assistant\n"
THOUGHT = 'I could write {"v": 1}, or call f. '
OPENER = " Perhaps as <tool_call> or so."


@dataclass(frozen=True, slots=True)
class Column:
    """One way to ask for a document. `write` is the text with which a model gives it. Random
    answers go on from `begin`; where that closes a thought, the prompt has opened it.
    """

    name: str
    syntax: AnswerSyntax
    write: Callable[[dict[str, Any]], str]
    is_tool: bool
    begin: str = ""
    notation: str = "json"

    @property
    def thought(self) -> str:
        """What of `begin` is a thought, with its end."""
        text, close, _ = self.begin.rpartition("</think>\n\n")
        return text + close


def json_call(document: dict[str, Any]) -> str:
    arguments = json.dumps(document, ensure_ascii=False)
    return f'<tool_call>\n{{"name": "f", "arguments": {arguments}}}\n</tool_call>'


def bare_call(document: dict[str, Any]) -> str:
    return f'{{"name": "f", "parameters": {json.dumps(document, ensure_ascii=False)}}}'


def tagged_call(document: dict[str, Any]) -> str:
    arguments = (
        f"<parameter={key}>\n{value if isinstance(value, str) else json.dumps(value)}\n</parameter>"
        for key, value in document.items()
    )
    return "\n".join(["<tool_call>\n<function=f>", *arguments, "</function>\n</tool_call>"])


def python_call(document: dict[str, Any]) -> str:
    arguments = ", ".join(f"{key}={_python(value)}" for key, value in document.items())
    return f"<|tool_call_start|>[f({arguments})]<|tool_call_end|>"


def _python(value: Any) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_python, value))}]"
        case dict():
            return f"{{{', '.join(f'{_python(k)}: {_python(v)}' for k, v in value.items())}}}"
        case bool() | None:
            return repr(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def plain_json(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False)


_THINK = ThoughtSyntax("<think>", "</think>", "<think>\n", "\n</think>\n\n")
_JSON_CALLS = JsonObjects(Section(call_open="<tool_call>\n", call_close="\n</tool_call>"))
_TAGGED_CALLS = Tagged(
    Section(call_open="<tool_call>\n<function=", call_close="\n</function>\n</tool_call>"),
    name_close=">",
    key_open="\n<parameter=",
    key_close=">\n",
    value_close="\n</parameter>",
)
_HERMES = MessageSyntax(header=HEADER, thought=_THINK, calls=_JSON_CALLS)
_TAGGED = MessageSyntax(header=HEADER, thought=_THINK, calls=_TAGGED_CALLS)
_PYTHONIC = MessageSyntax(header=HEADER, thought=_THINK, calls=PythonicCalls())

_THOUGHT = f"{THOUGHT}</think>\n\n"
_THOUGHT_WITH_OPENER = f"{THOUGHT}{OPENER}</think>\n\n"

COLUMNS = (
    Column("json_schema", _HERMES, plain_json, False, "{"),
    Column("json_schema, thinking", _HERMES, plain_json, False, f"{_THOUGHT_WITH_OPENER}{{"),
    Column("JSON tool", _HERMES, json_call, True, "<tool_call>"),
    Column("JSON tool, thinking", _HERMES, json_call, True, f"{_THOUGHT_WITH_OPENER}<tool_call>"),
    Column("tagged tool", _TAGGED, tagged_call, True, "<tool_call>", notation="tagged"),
    Column(
        "tagged tool, thinking",
        _TAGGED,
        tagged_call,
        True,
        f"{_THOUGHT}<tool_call>",
        notation="tagged",
    ),
    Column("Python tool", _PYTHONIC, python_call, True, "<|tool_call_start|>", notation="python"),
    Column("bare tool", Llama3(), bare_call, is_tool=True),
)
