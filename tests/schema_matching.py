"""Which documents a schema lets a model write, told by llguidance itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lark_matching import matches

from llmd.chat.calls.base import GrammarRules
from llmd.chat.json_schema import normalize_schema


def document_matcher(schema: Any) -> Callable[[Any], bool]:
    """Tells of a document whether an answer that is held to `schema` may be it. A str that begins
    with `{` is JSON text already.
    """
    grammar = f"start: {GrammarRules.json(normalize_schema(schema, 'schema'))}"

    def match(document: Any) -> bool:
        is_text = isinstance(document, str) and document.startswith("{")
        return matches(grammar, document if is_text else json.dumps(document, ensure_ascii=False))

    return match
