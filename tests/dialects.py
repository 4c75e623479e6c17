"""Chat templates in many dialects of thoughts and calls, put together of small parts.

Parts are texts in which words in capitals stand for values: NAME, ARGUMENTS (JSON), QUOTED (that
JSON as a JSON string), IDENT, KEY, VALUE (text as it is, anything else as JSON), JSON (any value as
JSON), THOUGHT and CONTENT. A part whose value may be missing is left out where it is.
"""

from __future__ import annotations

import re

_EXPRESSIONS = {
    "NAME": "call.function.name",
    "ARGUMENTS": "call.function.arguments | tojson",
    "QUOTED": "call.function.arguments | tojson | tojson",
    "IDENT": "call.id",
    "KEY": "key",
    "VALUE": "value if value is string else value | tojson",
    "JSON": "value | tojson",
    "PYTHON": "value if value is not string else '\"' + value + '\"'",
    "KIND": "'string' if value is string else 'other'",
    "THOUGHT": "m.reasoning_content or ''",
    "CONTENT": "m.content or ''",
}
_WORD = re.compile(f"({'|'.join(_EXPRESSIONS)})")


def written(part: str) -> str:
    """Jinja that writes `part`."""
    pieces = ((_EXPRESSIONS.get(piece) or repr(piece)) for piece in _WORD.split(part) if piece)
    return "".join(f"{{{{- {piece} -}}}}" for piece in pieces)


def each_call(
    call: str,
    *,
    opened: str = "",
    closed: str = "",
    between: str = "",
    argument: str = "",
    **ends: str,
) -> str:
    """Jinja for all calls of a message. Where there is an `argument`, a call goes on with all of
    its arguments and `end`.
    """
    body = written(call)
    if argument:
        comma = ends.get("comma", "")
        body += (
            "{%- for key, value in call.function.arguments.items() -%}"
            f"{written(argument)}{{{{- {comma!r} if not loop.last else '' -}}}}"
            f"{{%- endfor -%}}{written(ends['end'])}"
        )
    return (
        f"{{%- if m.tool_calls -%}}{written(opened)}"
        f"{{%- for call in m.tool_calls -%}}{body}"
        f"{{{{- {between!r} if not loop.last else '' -}}}}{{%- endfor -%}}"
        f"{written(closed)}{{%- endif -%}}"
    )


def dialect(
    calls: str,
    *,
    begin: str = "<|im_start|>assistant\n",
    thought: str = "",
    always_thinks: bool = False,
    content: str = "CONTENT",
    end: str = "<|im_end|>\n",
    opened: str = "",
) -> str:
    """A template whose assistant messages are `begin`, `thought`, `content`, `calls` (Jinja) and
    `end`; `opened` is Jinja for what a prompt adds to `begin`.
    """
    condition = "true" if always_thinks else "m.reasoning_content"
    return (
        "{%- for m in messages -%}"
        "{%- if m.role == 'assistant' -%}"
        f"{written(begin)}"
        f"{{%- if {condition} -%}}{written(thought)}{{%- endif -%}}"
        f"{{%- if m.content -%}}{written(content)}{{%- endif -%}}"
        f"{calls}{written(end)}"
        "{%- else -%}"
        "{{- '<|im_start|>' + m.role + '\\n' -}}"
        "{%- if loop.first -%}"
        "{%- for tool in tools or [] -%}{{- (tool | tojson) + '\\n' -}}{%- endfor -%}"
        "{%- endif -%}"
        "{{- m.content + '<|im_end|>\\n' -}}"
        "{%- endif -%}"
        "{%- endfor -%}"
        f"{{%- if add_generation_prompt -%}}{written(begin)}{opened}{{%- endif -%}}"
    )


HERMES_CALL = '<tool_call>\n{"name": "NAME", "arguments": ARGUMENTS}\n</tool_call>'
HERMES_CALLS = each_call(HERMES_CALL, between="\n")
THINK = "<think>\nTHOUGHT\n</think>\n\n"
OPENS_THINK = (
    "{%- if enable_thinking is defined and not enable_thinking -%}"
    "{{- '<think>\n\n</think>\n\n' -}}{%- else -%}{{- '<think>\n' -}}{%- endif -%}"
)
_OBJECT = '{"name": "NAME", "arguments": ARGUMENTS}'

JSON_OBJECTS = {
    "hermes": dialect(HERMES_CALLS),
    "hermes after a newline": dialect(each_call(f"\n{HERMES_CALL}")),
    "hermes in one line": dialect(each_call(f"<tool_call>{_OBJECT}</tool_call>")),
    "array": dialect(
        each_call(_OBJECT, opened="<tool_calls>[", closed="]</tool_calls>", between=", ")
    ),
    "array with ids at the end": dialect(
        each_call(
            '{"name": "NAME", "arguments": ARGUMENTS, "id": "IDENT"}',
            **{"opened": "[TOOL_CALLS][", "closed": "]", "between": ", "},
        ),
        begin="[/INST]",
        end="</s>",
    ),
    "wrapped objects": dialect(
        each_call(
            '{"id": "IDENT", "type": "function", "function": ' + _OBJECT + "}",
            **{"opened": "<|calls|>[\n  ", "closed": "\n]<|/calls|>", "between": ",\n  "},
        )
    ),
    "arguments as text": dialect(
        each_call(
            '{"name": "NAME", "arguments": QUOTED}',
            **{"opened": "<calls>\n", "closed": "\n</calls>", "between": "\n"},
        )
    ),
    "json lines": dialect(
        each_call(_OBJECT, opened="<tool_calls>\n", closed="\n</tool_calls>", between="\n")
    ),
    "name is the key": dialect(
        each_call(
            '{"NAME": ARGUMENTS}',
            **{"opened": "<|tools_prefix|>[", "closed": "]<|tools_suffix|>", "between": ", "},
        ),
        begin="<|assistant_start|>",
        thought="<|inner_prefix|>THOUGHT<|inner_suffix|>",
        end="<|assistant_end|>",
    ),
    "behind a word": dialect(
        each_call(_OBJECT, opened=" functools[", closed="]", between=", "), end="<|eot_id|>"
    ),
}
"""Name and arguments within one JSON object."""

NAMED_JSON = {
    "function tag": dialect(each_call("<function=NAME>ARGUMENTS</function>")),
    "name marker": dialect(
        each_call("[TOOL_CALLS]NAME[ARGS]ARGUMENTS"), begin="[/INST]", end="</s>"
    ),
    "id behind the name": dialect(
        each_call("[TOOL_CALLS]NAME[CALL_ID]IDENT[ARGS]ARGUMENTS"), begin="[/INST]", end="</s>"
    ),
    "id before the name": dialect(
        each_call("<|begin|>IDENT<|name|>NAME<|args|>ARGUMENTS<|end|>", opened="<|calls|>")
    ),
    "id behind the arguments": dialect(
        each_call(
            "<tool_call>\n<name>NAME</name>\n<parameters>ARGUMENTS</parameters>\n"
            "<id>IDENT</id>\n</tool_call>"
        )
    ),
    "behind words": dialect(each_call("Action: NAME\nAction Input: ARGUMENTS\n")),
    "messages to a recipient": dialect("").replace(
        "{%- if m.role == 'assistant' -%}",
        "{%- if m.role == 'assistant' and m.tool_calls -%}{{- m.content or '' -}}"
        "{%- for call in m.tool_calls -%}"
        + written("<|im_start|>assistant to=NAME\nARGUMENTS<|im_end|>\n")
        + "{%- endfor -%}{%- elif m.role == 'assistant' -%}",
    ),
    "fenced arguments": dialect(
        each_call(
            "<|call_begin|>function<|sep|>NAME\n```json\nARGUMENTS\n```<|call_end|>",
            **{"opened": "<|calls_begin|>", "closed": "<|calls_end|>", "between": "\n"},
        )
    ),
}
"""The name between markers, the arguments as JSON."""

TAGGED = {
    "parameter tags": dialect(
        each_call(
            "<tool_call>\n<function=NAME>\n",
            argument="<parameter=KEY>\nVALUE\n</parameter>\n",
            end="</function>\n</tool_call>",
            between="\n",
        )
    ),
    "parameter tags in a line": dialect(
        each_call(
            "\n<seed:tool_call>\n<function=NAME>\n",
            argument="<parameter=KEY>VALUE</parameter>\n",
            end="</function>\n</seed:tool_call>",
        ),
        begin="<seed:bos>assistant\n",
        thought="<seed:think>THOUGHT</seed:think>",
        end="<seed:eos>",
    ),
    "attributes": dialect(
        each_call(
            '<invoke name="NAME">\n',
            argument='<parameter name="KEY">VALUE</parameter>\n',
            end="</invoke>\n",
            opened="<calls>\n",
            closed="</calls>",
        ),
        thought=THINK,
        always_thinks=True,
        opened=OPENS_THINK,
    ),
    "attributes with kinds": dialect(
        each_call(
            '<invoke name="NAME">\n',
            argument='<parameter name="KEY" type="KIND">VALUE</parameter>\n',
            end="</invoke>\n",
            opened="<calls>\n",
            closed="</calls>",
        )
    ),
    "cdata": dialect(
        each_call(
            '<function name="NAME">',
            argument='<param name="KEY"><![CDATA[VALUE]]></param>',
            end="</function>",
        )
    ),
    "key and value tags": dialect(
        each_call(
            "\n<tool_call>NAME\n",
            argument="<arg_key>KEY</arg_key>\n<arg_value>VALUE</arg_value>\n",
            end="</tool_call>",
        ),
        begin="<|assistant|>",
        thought="\n<think>THOUGHT</think>\n",
        always_thinks=True,
        end="",
    ),
    "key and value tags in a line": dialect(
        each_call(
            "<tool_call>NAME",
            argument="<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>",
            end="</tool_call>",
        ),
        begin="<|assistant|>",
        end="",
    ),
    "key as tag": dialect(
        each_call(
            '<call name="NAME">\n', argument="<KEY>VALUE</KEY>\n", end="</call>", between="\n"
        )
    ),
    "container of arguments": dialect(
        each_call(
            "<call>\n<name>NAME</name>\n<arguments>\n",
            argument="<KEY>VALUE</KEY>\n",
            end="</arguments>\n</call>",
            between="\n",
        )
    ),
    "value in an attribute": dialect(
        each_call('<call tool="NAME">', argument='<arg name="KEY" value="VALUE"/>', end="</call>")
    ),
    "kind behind a bare key": dialect(
        each_call(
            "<invoke NAME>\n",
            argument='<param KEY type="KIND">VALUE</param>\n',
            end="</invoke>\n",
        )
    ),
    "json values": dialect(each_call("<call:NAME>", argument="<arg:KEY>JSON</arg>", end="</call>")),
}
"""Literals around each argument."""

PYTHONIC = {
    "python": dialect(
        each_call(
            "NAME(",
            argument="KEY=PYTHON",
            comma=", ",
            end=")",
            **{"opened": "<|py_start|>[", "closed": "]<|py_end|>", "between": ", "},
        )
    ),
    "python between markers": dialect(
        each_call("<|py|>NAME(", argument="KEY=PYTHON", comma=", ", end=")<|/py|>")
    ),
    "python in a fence": dialect(
        each_call(
            "```tool_code\nNAME(", argument="KEY=PYTHON", comma=", ", end=")\n```", between="\n"
        )
    ),
}

FRAMES = {
    "written thought": dialect(HERMES_CALLS, thought=THINK),
    "opened thought": dialect(HERMES_CALLS, thought=THINK, always_thinks=True, opened=OPENS_THINK),
    "thought beside calls only": dialect(
        "{%- if m.tool_calls -%}"
        + written("<|START|>THOUGHT<|END|>")
        + "{%- endif -%}"
        + HERMES_CALLS
    ),
    "thought opened and never written": dialect(
        HERMES_CALLS, opened="{{- '<think>' + ('' if thinking else '</think>') -}}"
    ),
    "thought opened without a closer": dialect(HERMES_CALLS, opened="{{- '<think>\n' -}}"),
    "thought only shut": dialect(
        HERMES_CALLS,
        opened="{{- '' if enable_thinking else '<|START_THINK|><|END_THINK|>' -}}",
    ),
    "thought only mentioned": dialect(
        HERMES_CALLS + "{%- if m.parts -%}[THINK]{{ m.parts }}[/THINK]{%- endif -%}"
    ),
    "bare closer": dialect(
        HERMES_CALLS,
        thought="<think>THOUGHT</think>",
        opened="{{- '<think>' if enable_thinking else '</think>' -}}",
    ).replace(
        "{%- endif -%}{%- if m.content -%}",
        "{%- else -%}</think>{%- endif -%}{%- if m.content -%}",
    ),
    "answer always in a thought": dialect(HERMES_CALLS, begin="<|im_start|>assistant\n<think>\n"),
    "thought in a message of its own": dialect(
        HERMES_CALLS,
        begin="<|begin|>bot",
        thought="<|think|>THOUGHT<|end|><|begin|>bot",
        content="<|say|>CONTENT",
        end="<|end|>",
        opened="{{- '' if enable_thinking else '<|think|><|end|>' -}}",
    ),
    "answer in tags": dialect(
        HERMES_CALLS, thought="<think>THOUGHT</think>\n", content="<answer>\nCONTENT\n</answer>"
    ),
    "calls are a message of their own": dialect(
        each_call(_OBJECT, opened="<calls>", closed="</calls>", between="\n").replace(
            "{%- if m.tool_calls -%}",
            "{%- if m.tool_calls -%}{{- '<|eom|><|bot|>' if m.content else '' -}}",
        ),
        begin="<|bot|>",
        end="<|eot|>",
    ),
}
"""What stands around calls."""

RELUCTANT = {
    "one call only": "{%- for m in messages if m.tool_calls and m.tool_calls | length > 1 -%}"
    "{{- raise_exception('one call at a time') -}}{%- endfor -%}" + dialect(HERMES_CALLS),
    "arguments must be text": dialect(
        each_call("<function=NAME>ARGUMENTS</function>").replace(
            "call.function.arguments | tojson", "'' + call.function.arguments"
        )
    ),
    "calls beside null content only": dialect(HERMES_CALLS).replace(
        "{%- if m.tool_calls -%}", "{%- if m.tool_calls and m.content is none -%}"
    ),
    "calls before their results only": dialect(HERMES_CALLS).replace(
        "{%- if m.tool_calls -%}", "{%- if m.tool_calls and not loop.last -%}"
    ),
    "the user speaks last": "{%- if messages[-1].role == 'assistant' -%}"
    "{%- if not messages[-1].tool_calls -%}{{- raise_exception('no user') -}}{%- endif -%}"
    "{%- endif -%}" + dialect(HERMES_CALLS),
}
"""Templates that refuse or drop some of the probes."""

DIALECTS = {**JSON_OBJECTS, **NAMED_JSON, **TAGGED, **PYTHONIC, **FRAMES, **RELUCTANT}
