"""Chat templates in the manners of well-known ones, short enough to see where their parts end."""

from __future__ import annotations

CHATML = (
    "{%- set ns = namespace(last_user=-1) -%}"
    "{%- for m in messages if m.role == 'user' -%}"
    "{%- set ns.last_user = messages.index(m) -%}"
    "{%- endfor -%}"
    "{%- set system = messages[0].content if messages[0].role == 'system' else '' -%}"
    "{%- if system or tools -%}"
    "{{- '<|im_start|>system\\n' + system -}}"
    "{%- for tool in tools or [] -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- for m in messages if m.role != 'system' -%}"
    "{{- '<|im_start|>' + m.role + '\\n' -}}"
    "{%- if m.reasoning_content and messages.index(m) > ns.last_user -%}"
    "{{- '<think>\\n' + m.reasoning_content + '\\n</think>\\n' -}}"
    "{%- endif -%}"
    "{{- m.content or '' -}}"
    "{%- for call in m.tool_calls or [] -%}"
    "{{- '<tool_call>' + (call.function | tojson) + '</tool_call>' -}}"
    "{%- endfor -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n<think>\\n' -}}{%- endif -%}"
)
"""Tools in the system message; thoughts go when the user speaks again; an answer opens with one."""

LLAMA = (
    "{{- bos_token -}}"
    "{%- for m in messages -%}"
    "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim -}}"
    "{%- if loop.first -%}"
    "{%- for tool in tools or [] -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}"
    "{%- endif -%}"
    "{%- for call in m.tool_calls or [] -%}{{- call.function | tojson -}}{%- endfor -%}"
    "{{- '<|eot_id|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}"
    "{%- endif -%}"
)
"""Begins with BOS; tools in the first message, whosever it is."""

GEMMA = (
    "{{- bos_token -}}"
    "{%- for m in messages -%}"
    "{%- if m.role not in ('user', 'assistant') -%}"
    "{{- raise_exception(m.role + ' is not supported') -}}"
    "{%- endif -%}"
    "{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\\n' -}}"
    "{{- m.content | trim + '<end_of_turn>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"
)
"""No system role: the normaliser puts its text into the first user message. No tools."""

MISTRAL = (
    "{{- bos_token -}}"
    "{%- set first = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' -%}"
    "{%- set turns = messages | rejectattr('role', 'equalto', 'system') | list -%}"
    "{%- set users = turns | selectattr('role', 'equalto', 'user') | list -%}"
    "{%- for m in turns -%}"
    "{%- if m.role == 'user' -%}"
    "{%- if m is sameas users[-1] and tools -%}"
    "{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' -}}"
    "{%- endif -%}"
    "{{- '[INST] ' + (first if m is sameas turns[0] else '') + m.content + ' [/INST]' -}}"
    "{%- elif m.role == 'assistant' -%}"
    "{{- m.content or '' -}}"
    "{%- for call in m.tool_calls or [] -%}"
    "{{- '[TOOL_CALLS]' + (call.function | tojson) -}}"
    "{%- endfor -%}"
    "{{- eos_token -}}"
    "{%- else -%}"
    "{{- '[TOOL_RESULTS]' + m.content + '[/TOOL_RESULTS]' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
)
"""Nothing opens an answer; the tools stand before the last user message, and move on with it."""

TEMPLATES = {"chatml": CHATML, "llama": LLAMA, "gemma": GEMMA, "mistral": MISTRAL}
