"""What an answer may be, before it is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class GrammarSource:
    """The text of a grammar: Lark as llguidance reads it (github.com/guidance-ai/llguidance
    docs/syntax.md), llama.cpp's GBNF, or a JSON schema. It holds for all of an answer, from its
    first token to its last.
    """

    kind: Literal["lark", "gbnf", "json_schema"]
    text: str
