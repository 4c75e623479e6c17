from __future__ import annotations

import pytest

from llmd.chat.families.registry import family_for

SOURCES = {
    "harmony": "{{ '<|start|>assistant<|channel|>final<|message|>' }}",
    "muse": "{{ '<|start|>assistant to=user<|message|>' }}{{ '<atem:invoke name=' }}",
    "functionary": "Ask for the required input to:recipient==all {{ '>>>' }}",
    "kimi-k3": "{{ '<|open|>' + tag + '<|sep|>' }}{{ '<|close|>' + tag + '<|sep|>' }}",
    "kimi-k2": "<|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>",
    "function-gemma": "<start_function_call>call:{{ name }}{{ '<escape>' }}",
    "llama-4": "<|header_start|>{{ '<|python_start|>' }}",
    "gemma4": "{{ '<|\"|>' }}{{ '<|tool_call>call:' }}",
    "minimax-m3": "{% set ns = ']<]minimax[>[' %}",
    "dsml": "{% set dsml = '｜DSML｜' %}",
    "deepseek": "<｜tool▁call▁begin｜>{{ name }}<｜tool▁sep｜>",
    "lfm2": "{{ '<|im_start|>system' }}{{ 'List of tools: [' }}",
    "cohere": "<|START_ACTION|>[",
    "command-r-plus": '<|CHATBOT_TOKEN|>Action:\n "tool_name": ',
    "nemotron-v2": "<TOOLCALL>[",
    "granite-3": "respond only with <|tool_call|> followed by a JSON list of tools used",
    "phi-4-mini": "{{ '<|tool|>' + tools + '<|/tool|>' }}",
    "gigachat-3": "<|message_sep|>{{ 'function call' }}<|role_sep|>",
    "llama-3": '<|start_header_id|><|eot_id|>{"name": function name, "parameters": dictionary}',
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_family_is_known_by_its_markers(name: str) -> None:
    family = family_for(SOURCES[name])
    assert family is not None and family.name == name
    parts = (family.calls, family.thought, family.content)
    assert (family.whole is None) != (parts == (None, None, None))


def test_templates_that_show_their_format_have_no_family() -> None:
    assert family_for("<|im_start|>{{ '<tool_call>' }}") is None
    assert family_for("") is None


def test_deepseek_fences_arguments_if_the_template_does() -> None:
    fenced = family_for(SOURCES["deepseek"] + "```json")
    plain = family_for(SOURCES["deepseek"])
    assert fenced is not None and plain is not None and fenced.calls != plain.calls


def test_the_words_of_cohere_are_those_of_the_template() -> None:
    family = family_for(SOURCES["cohere"] + "<|START_TEXT|>")
    assert family is not None and family.content == ("<|START_TEXT|>", "<|END_TEXT|>")
