"""Tools for models whose template does not list them, described in a system paragraph; and, where
the template knows no calls either, the format of Hermes models for these. https://github.com/NousResearch/Hermes-Function-Calling
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from llmd.chat.calls.json_objects import JsonObjects
from llmd.chat.calls.section import Section
from llmd.core.message import Message, Tool

HERMES_CALLS = JsonObjects(Section(call_open="<tool_call>\n", call_close="\n</tool_call>"))

NAME, KEY, VALUE = "function_name", "argument_name", "argument value"
"""The words of an example of a call."""

HERMES_EXAMPLE = f"""\
<tool_call>
{{"name": "{NAME}", "arguments": {{"{KEY}": "{VALUE}"}}}}
</tool_call>"""

_PARAGRAPH = """\
You can call functions. These are their signatures, one JSON object a line:
<tools>
{tools}
</tools>
To call one, write exactly this, with its name and arguments, once for each call:
{example}
The results come back to you then. Where no function helps, answer without one."""


def with_tool_paragraph(
    messages: Sequence[Message], tools: Sequence[Tool], example: str = HERMES_EXAMPLE
) -> tuple[Message, ...]:
    """`messages` with `tools` described in the system message, which is added where there is
    none. `example` is a call as the model is to write it. To be rendered without tools then.
    """
    if not tools:
        return tuple(messages)
    signatures = "\n".join(
        json.dumps(tool.definition.get("function", tool.definition), ensure_ascii=False)
        for tool in tools
    )
    paragraph = _PARAGRAPH.format(tools=signatures, example=example)
    if messages and messages[0].role in ("system", "developer"):
        content = messages[0].content
        text = f"{content}\n\n{paragraph}" if content else paragraph
        return (replace(messages[0], content=text), *messages[1:])
    return (Message(role="system", content=paragraph), *messages)
