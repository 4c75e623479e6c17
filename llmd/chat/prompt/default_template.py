"""The template of a model file that brings none."""

from __future__ import annotations

DEFAULT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""ChatML: https://github.com/openai/openai-python/blob/v0.28.1/chatml.md. It knows no tools; the
normaliser writes calls and results into the text."""
