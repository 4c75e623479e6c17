"""What reading an answer costs: processor time per token, by what the text is.

    python benchmarks/reader.py [--tokens 2000] [--rounds 7]

Each text is fed to the reader of its template as a model would write it, in tokens of up to four
characters. Printed is the median over the rounds, in microseconds of processor time per token.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median

from llmd.chat.format.chat_format import ChatFormat, find_format
from llmd.chat.prompt.default_template import DEFAULT_TEMPLATE
from llmd.chat.prompt.template import ChatTemplate
from llmd.config.model_reference import resolve
from llmd.core.message import Tool
from llmd.store.model_file import read_model_file

PROSE = "The quick brown fox <jumps> over the lazy dog, again and again; 2 < 3 it says.\n"
WRITE = Tool(
    name="write",
    definition={
        "type": "function",
        "function": {
            "name": "write",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        },
    },
)

TAGGED = """\
{%- for tool in tools or [] -%}{{ tool | tojson }}{%- endfor -%}
{%- for m in messages -%}
<|im_start|>{{ m.role }}
{% if m.reasoning_content -%}<think>
{{ m.reasoning_content }}
</think>

{% endif -%}
{{ m.content or '' }}
{%- for call in m.tool_calls or [] %}
<tool_call>
<function={{ call.function.name }}>
{% for key, value in call.function.arguments.items() -%}
<parameter={{ key }}>
{{ value if value is string else value | tojson }}
</parameter>
{% endfor -%}
</function>
</tool_call>
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
"""A tag for each argument, in the manner of coding models."""


def texts(num_characters: int) -> dict[str, tuple[str, str]]:
    """What is read, by a name: the kind of template, and the text of so many characters."""
    prose = (PROSE * (num_characters // len(PROSE) + 1))[:num_characters]
    numbers = json.dumps([index * 7 for index in range(num_characters // 6)])
    call = '<tool_call>\n{"name": "write", "arguments": %s}\n</tool_call>'
    tagged = "<tool_call>\n<function=write>\n<parameter=text>\n%s\n</parameter>\n</function>\n"
    return {
        "plain text": ("json", prose),
        "a thought": ("json", f"<think>\n{prose}"),
        "JSON arguments, a string": ("json", call % json.dumps({"text": prose})),
        "JSON arguments, numbers": ("json", call % f'{{"text": {numbers}}}'),
        "a tagged argument": ("tagged", tagged % prose + "</tool_call>"),
    }


def formats() -> dict[str, ChatFormat]:
    own = read_model_file(resolve("tiny")).chat_template or DEFAULT_TEMPLATE
    sources = {"json": own, "tagged": TAGGED}
    return {
        name: find_format(ChatTemplate(source, bos_token="", eos_token="<|im_end|>"))
        for name, source in sources.items()
    }


def read(chat_format: ChatFormat, tokens: list[str]) -> float:
    """Seconds of processor time for all tokens."""
    reader = chat_format.reader(chat_format.syntax.header, (WRITE,))
    started = time.process_time()
    for token in tokens:
        reader.feed(token)
    reader.flush()
    return time.process_time() - started


def measure(num_tokens: int, num_rounds: int) -> dict[str, float]:
    """Microseconds per token, by the name of the text."""
    known = formats()
    cases = {
        name: (known[kind], [text[i : i + 4] for i in range(0, len(text), 4)])
        for name, (kind, text) in texts(num_tokens * 4).items()
    }
    rounds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(num_rounds):
        for name, (chat_format, tokens) in cases.items():
            rounds[name].append(read(chat_format, tokens) * 1e6 / len(tokens))
    return {name: median(each) for name, each in rounds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    for name, microseconds in measure(arguments.tokens, arguments.rounds).items():
        print(f"{name:<26} {microseconds:6.2f} us per token")


if __name__ == "__main__":
    main()
