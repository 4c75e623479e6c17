"""A query and a document as one text, for models that judge the two together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmd.chat.prompt.guard import SpecialTokenGuard, cut, free_markers

RERANK_TEMPLATE = "tokenizer.chat_template.rerank"
"""Where a GGUF holds the text around {query} and {document}."""

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""The task that Qwen3-Reranker was trained with for want of another one."""

_PLACES = re.compile(r"\{query\}|\{document\}")


class PairTokenizer(Protocol):
    """What is asked of a model's tokenizer."""

    bos_id: int
    eos_id: int
    sep_id: int
    adds_bos: bool
    adds_eos: bool
    adds_sep: bool

    @property
    def control_texts(self) -> frozenset[str]: ...

    @property
    def marker_texts(self) -> frozenset[str]: ...

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def encode_inside(self, text: str, *, parse_special: bool) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids, the last `num_kept` of which stand behind the document."""

    tokens: list[int]
    num_kept: int


class PairEncoder:
    """Joins one query with many documents."""

    def __init__(
        self, tokenizer: PairTokenizer, query: str, *, template: str | None, instruction: str | None
    ) -> None:
        """`template` None puts the tokens between the two that the vocabulary asks for."""
        self._tokenizer = tokenizer
        self._query = query
        self._template = template
        if template is not None and instruction:
            self._template = template.replace(INSTRUCTION, instruction)
        self._guard: SpecialTokenGuard | None = None
        if template is not None:
            markers = {text for text in tokenizer.marker_texts if text in template}
            self._guard = SpecialTokenGuard(tokenizer.control_texts | markers)

    def encode(self, document: str) -> Pair:
        if self._template is not None:
            return self._fill(self._template, document)
        return self._join(document)

    def _join(self, document: str) -> Pair:
        """As llama.cpp's server: BOS query EOS SEP document EOS, each where the vocabulary adds
        it (tools/server, format_prompt_rerank).
        """
        tokenizer = self._tokenizer
        end_id = tokenizer.eos_id if tokenizer.eos_id >= 0 else tokenizer.sep_id
        begin = [tokenizer.bos_id] if tokenizer.adds_bos else []
        end = [end_id] if tokenizer.adds_eos else []
        between = [tokenizer.sep_id] if tokenizer.adds_sep else []
        query = tokenizer.encode(self._query, add_special=False, parse_special=False)
        text = tokenizer.encode(document, add_special=False, parse_special=False)
        return Pair([*begin, *query, *end, *between, *text, *end], len(end))

    def _fill(self, template: str, document: str) -> Pair:
        """The template with both texts in it; its special tokens are its own alone."""
        assert self._guard is not None
        (marker,) = free_markers((template, self._query, document), 1)
        texts = {"{query}": self._query, "{document}": document}
        marked = {place: self._guard.mark(text, marker) for place, text in texts.items()}
        text = _PLACES.sub(lambda place: marked[place[0]], template)
        ending = template.rpartition("{document}")[2]
        num_kept = len(self._tokenizer.encode_inside(ending, parse_special=True))
        return Pair(self._encode_pieces(cut(text, marker)), num_kept)

    def _encode_pieces(self, pieces: Sequence[str]) -> list[int]:
        tokens: list[int] = []
        for piece in pieces:
            if tokens:
                tokens += self._tokenizer.encode_inside(piece, parse_special=True)
            else:
                tokens = self._tokenizer.encode(piece, add_special=False, parse_special=True)
        return tokens
