"""Constraints on what a model may write, compiled for its vocabulary. The one door to llguidance.

llguidance parses with Earley's algorithm over lexemes that are matched byte by byte
(github.com/guidance-ai/llguidance), so how a text is cut into tokens does not matter: a marker may
be one special token or several plain ones.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from threading import Lock, Thread, stack_size
from typing import Any, Protocol

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from llmd.core.grammar import GrammarSource
from llmd.engine.gbnf import gbnf_to_lark
from llmd.errors import InvalidRequest, Unsupported

MAX_COMPILED = 64
"""Compiled grammars that are kept; the one that was not asked for the longest goes first."""

MAX_SOURCE_CHARACTERS = 1 << 18

COMPILER_STACK = 512 << 20
"""llguidance compiles recursively, and a stack that is too small ends the process. Chains of
references took up to 600 bytes of it for each character of the source; this is three times as
much for the longest source. Only what is used becomes memory.
"""

MAX_REASON_CHARACTERS = 300

STEP_ITEMS = 200_000
"""Earley items of one mask, about 30 ms. Plain grammars need some thousands, and one of single
characters that allows any text as many as the vocabulary has beginnings of tokens."""

_SILENT = 0
_HIDDEN = b"\xff"
"""llguidance's mark of tokens that no text in a grammar matches."""

_NO_TEXT = "no text matches it"

Mask = NDArray[np.bool_]


class GrammarVocabulary(Protocol):
    """What a compiler asks of a tokenizer."""

    @property
    def end_of_generation_ids(self) -> frozenset[int]: ...

    @property
    def suppressed_ids(self) -> tuple[int, ...]: ...

    def all_bytes(self) -> list[bytes]: ...

    def encode_inside(self, text: str, *, parse_special: bool) -> list[int]: ...


class ConstraintFailed(Exception):
    """A sequence cannot go on within its grammar. The message is for its client."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the answer cannot go on within its schema or grammar: {reason}. Correct or simplify "
            f"that."
        )


class Constraint:
    """What may stand next in one sequence. Engine thread only. Methods raise ConstraintFailed once
    the grammar has turned out too ambiguous to be followed, or to lead nowhere.
    """

    def __init__(self, matcher: LLMatcher, num_tokens: int) -> None:
        """`matcher` is its own; `num_tokens` is the size of the vocabulary."""
        self._matcher = matcher
        self._num_tokens = num_tokens

    def accept(self, token_id: int) -> bool:
        """Let a token stand next. False, and nothing has changed, where it may not."""
        accepted = self._matcher.try_consume_tokens([token_id]) == 1
        if not accepted:
            self._check()
        return accepted

    def allows(self, token_ids: Sequence[int]) -> bool:
        """Whether these tokens may stand next, in this order."""
        num_allowed = self._matcher.validate_tokens(list(token_ids))
        self._check()
        return num_allowed == len(token_ids)

    def mask(self) -> Mask:
        """For each token of the vocabulary whether it may stand next. At least one may."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        mask = np.unpackbits(bits, count=self._num_tokens, bitorder="little").view(np.bool_)
        if not mask.any():
            raise ConstraintFailed(_NO_TEXT)
        return mask

    def forced(self) -> list[int]:
        """The tokens that must stand next whatever is drawn, cut as the tokenizer would cut their
        text; without a last one that longer text could still change.
        """
        token_ids = self._matcher.compute_ff_tokens()
        if token_ids:
            # A tokenizer may cut a text into tokens that do not spell it exactly.
            del token_ids[self._matcher.validate_tokens(token_ids) :]
        self._check()
        return token_ids

    @property
    def may_end(self) -> bool:
        """Whether the text so far is whole."""
        return self._matcher.is_accepting()

    @property
    def is_complete(self) -> bool:
        """Whether the text is whole and nothing may follow it."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintFailed(_trimmed(self._matcher))


class CompiledGrammar:
    """A grammar for one vocabulary. Immutable, and safe from any thread."""

    def __init__(self, matcher: LLMatcher, num_tokens: int) -> None:
        self._matcher = matcher
        self._num_tokens = num_tokens

    def start(self) -> Constraint:
        """A constraint that nothing was written under yet; it takes some microseconds."""
        return Constraint(self._matcher.deep_copy(), self._num_tokens)


class GrammarCompiler:
    """Compiles grammars for one vocabulary and keeps the last ones. Safe from any thread while its
    model is loaded. The first use prepares the vocabulary, about a second for 150,000 tokens, and
    a large schema can take as long: not for the event loop.
    """

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokenizer: LLTokenizer | None = None
        self._preparing = Lock()
        self._starting = Lock()
        self._compiled: OrderedDict[GrammarSource, CompiledGrammar] = OrderedDict()
        self._storing = Lock()
        self._limits = LLParserLimits(step_max_items=STEP_ITEMS, verbose_errors=False)

    def find(self, source: GrammarSource) -> CompiledGrammar | None:
        """What `compile` would give, where that is known already: at once, from any thread."""
        with self._storing:
            compiled = self._compiled.get(source)
            if compiled is not None:
                self._compiled.move_to_end(source)
            return compiled

    def compile(self, source: GrammarSource) -> CompiledGrammar:
        """Raises InvalidRequest where the source is no grammar, or one that cannot be enforced."""
        compiled = self.find(source)
        if compiled is None:
            compiled = self._compile(source)
            with self._storing:
                self._compiled[source] = compiled
                if len(self._compiled) > MAX_COMPILED:
                    self._compiled.popitem(last=False)
        return compiled

    def _compile(self, source: GrammarSource) -> CompiledGrammar:
        if len(source.text) > MAX_SOURCE_CHARACTERS:
            raise InvalidRequest(
                f"the grammar has {len(source.text)} characters, and at most "
                f"{MAX_SOURCE_CHARACTERS} can be enforced. Shorten the schema or the grammar."
            )
        try:
            source.text.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(
                "the schema or grammar has half of a surrogate pair. Send whole characters."
            ) from None
        tokenizer, text = self._prepared(), _grammar(source)
        thread = _CompilerThread(tokenizer, text, self._limits)
        with self._starting:
            before = stack_size(COMPILER_STACK)
            try:
                thread.start()
            finally:
                stack_size(before)
        thread.join()
        if thread.matcher is not None:
            return CompiledGrammar(thread.matcher, tokenizer.vocab_size)
        raise InvalidRequest(
            f"the answer cannot be held to this schema or grammar: {thread.error}. Correct or "
            f"simplify it, or ask without it."
        )

    def _prepared(self) -> LLTokenizer:
        with self._preparing:
            if self._tokenizer is None:
                if not self._vocabulary.end_of_generation_ids:
                    raise Unsupported(
                        "this model's file names no token that ends an answer, so answers cannot "
                        "be held to a schema or grammar. Ask without it, or serve another model."
                    )
                # Typed as a class of llguidance's own, of which it needs only these attributes.
                adapter: Any = _TokenizerAdapter(self._vocabulary)
                self._tokenizer = LLTokenizer(
                    adapter, eos_token=sorted(self._vocabulary.end_of_generation_ids)
                )
            return self._tokenizer


class _CompilerThread(Thread):
    """Compiles one grammar: afterwards there is a `matcher`, or an `error` that says why not."""

    def __init__(self, tokenizer: LLTokenizer, text: str, limits: LLParserLimits) -> None:
        super().__init__(name="llmd-grammar", daemon=True)
        self.matcher: LLMatcher | None = None
        self.error = "compiling it crashed"
        self._arguments = tokenizer, text, limits

    def run(self) -> None:
        tokenizer, text, limits = self._arguments
        matcher = LLMatcher(tokenizer, text, log_level=_SILENT, limits=limits)
        # What is too ambiguous, or cannot even begin, shows in the first mask.
        trial = matcher.deep_copy()
        if any(trial.compute_bitmask()) and not trial.is_error():
            self.matcher = matcher
        else:
            self.error = _trimmed(trial)


class _TokenizerAdapter:
    """A vocabulary as llguidance wants to see one (llguidance.TokenizerWrapper).

    Every token stands for its plain bytes, special ones too. Hidden are those that end the
    generation, which llguidance allows by their ids where the text may end; those without bytes,
    which would never come to an end; and those that the model file forbids.
    """

    is_tokenizer_wrapper = True
    bos_token_id = None
    special_token_ids: Sequence[int] = ()

    def __init__(self, vocabulary: GrammarVocabulary) -> None:
        self._encode = vocabulary.encode_inside
        ends = vocabulary.end_of_generation_ids
        self.tokens = vocabulary.all_bytes()
        empty = (token_id for token_id, data in enumerate(self.tokens) if not data)
        self._hidden = {*ends, *vocabulary.suppressed_ids, *empty}
        for token_id in self._hidden:
            self.tokens[token_id] = _HIDDEN + b"[%d]" % token_id
        self.eos_token_id = min(ends)

    def __call__(self, text: str) -> list[int]:
        token_ids = self._encode(text, parse_special=True)
        if not self._hidden.isdisjoint(token_ids):
            token_ids = self._encode(text, parse_special=False)
        return self._exact(text.encode(), token_ids)

    def _exact(self, data: bytes, token_ids: list[int]) -> list[int]:
        """`token_ids` without the spaces that SentencePiece vocabularies put behind each special
        token: what does not spell the text would be forced on the model and refused.
        """
        exact: list[int] = []
        position = 0
        for token_id in token_ids:
            piece = self.tokens[token_id]
            if data.startswith(piece, position):
                exact.append(token_id)
            elif piece[:1] == b" " and data.startswith(piece[1:], position):
                piece = piece[1:]
                exact += self._encode(piece.decode("utf-8", "replace"), parse_special=False)
            else:
                break
            position += len(piece)
        if b"".join(map(self.tokens.__getitem__, exact)) == data:
            return exact
        return [self._ids_of_bytes[byte] for byte in data if byte in self._ids_of_bytes]

    @cached_property
    def _ids_of_bytes(self) -> dict[int, int]:
        return {data[0]: number for number, data in enumerate(self.tokens) if len(data) == 1}


def _grammar(source: GrammarSource) -> str:
    match source.kind:
        case "lark":
            return LLMatcher.grammar_from_lark(source.text)
        case "gbnf":
            return LLMatcher.grammar_from_lark(gbnf_to_lark(source.text))
        case "json_schema":
            try:
                schema = json.loads(source.text)
            except (ValueError, RecursionError) as error:
                raise InvalidRequest(f"the schema is no JSON: {error}. Send valid JSON.") from None
            return LLMatcher.grammar_from_json_schema(json.dumps(schema))


def _trimmed(matcher: LLMatcher) -> str:
    """What llguidance says is wrong, without the excerpt that follows it."""
    reason = re.split(r"\n +\d+ \| |<(?:non-verbose/|backtrace)>", matcher.get_error())[0]
    reason = " ".join(reason.split())
    if not reason or reason.startswith("NoExtension"):
        return _NO_TEXT
    if len(reason) <= MAX_REASON_CHARACTERS:
        return reason
    return f"{reason[:MAX_REASON_CHARACTERS]}..."
