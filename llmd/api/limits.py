"""How much one request may bring. Looked at before anything is made of a body: what is refused
costs no more than its JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from llmd.config.settings import ServerSettings
from llmd.config.size_text import size_text
from llmd.errors import LimitExceeded

_SCHEMAS = (
    "response_format",
    "json_schema",
    "grammar",
    "text",
    "tool_choice",
    "chat_template_kwargs",
)
"""Fields whose work grows with what they hold, and tools."""

_TOOLS = ("tools", "functions")


def check_limits(body: dict[str, Any], settings: ServerSettings) -> None:
    """Raises LimitExceeded, which names the field and the setting, for a body of any dialect that
    brings too much of something.
    """
    for name in ("messages", "input"):
        # An input may also be a list of texts or of tokens, which is bounded by the context.
        items = body.get(name)
        num = sum(isinstance(each, dict) for each in items) if isinstance(items, list) else 0
        if num > settings.max_messages:
            raise _too_many(name, num, "max_messages", settings.max_messages)
    for name, option, most in (
        ("tools", "max_tools", settings.max_tools),
        ("functions", "max_tools", settings.max_tools),
        ("stop", "max_stop_strings", settings.max_stop_strings),
        ("stop_sequences", "max_stop_strings", settings.max_stop_strings),
        ("logit_bias", "max_logit_biases", settings.max_logit_biases),
    ):
        value = body.get(name)
        if isinstance(value, list | dict) and len(value) > most:
            raise _too_many(name, len(value), option, most)
    for param, value in _schemas(body):
        if _is_deeper(value, settings.max_schema_depth):
            what = f"is nested more than {settings.max_schema_depth} levels deep"
            raise _refusal(param, what, "max_schema_depth")
        num_bytes = len(orjson.dumps(value))
        if num_bytes > settings.max_schema_bytes:
            most = settings.max_schema_bytes
            what = f"takes {size_text(num_bytes)}, more than {size_text(most)}"
            raise _refusal(param, what, "max_schema_bytes")


def _schemas(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in _SCHEMAS:
        # A plain text is a prompt of another route, but for a grammar.
        if name in body and (name == "grammar" or isinstance(body[name], dict | list)):
            yield name, body[name]
    for name in _TOOLS:
        tools = body.get(name)
        if isinstance(tools, list):
            for number, tool in enumerate(tools):
                yield f"{name}.{number}", tool


def _is_deeper(value: Any, most: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        if not level:
            return False
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _too_many(param: str, num: int, option: str, most: int) -> LimitExceeded:
    return _refusal(param, f"holds {num} entries, more than {most}", option)


def _refusal(param: str, what: str, option: str) -> LimitExceeded:
    cure = f"Send less, or start llmd with a larger --{option.replace('_', '-')}."
    return LimitExceeded(f"{param} {what}. {cure}", param=param)
