"""Whether a Lark grammar matches a text, told by llguidance itself, one byte a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from llmd.chat.calls.base import CallSyntax, GrammarRules
from llmd.chat.families.family import WholeSyntax
from llmd.core.message import Tool


class _Bytes:
    eos_token_id = 256
    bos_token_id = None
    tokens = [*(bytes([value]) for value in range(256)), b"\xff<end>"]
    special_token_ids = [256]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


_TOKENIZER = LLTokenizer(TokenizerWrapper(_Bytes()))


def matches(grammar: str, text: str) -> bool:
    """Whether `grammar` may generate exactly `text`."""
    matcher = LLMatcher(_TOKENIZER, LLMatcher.grammar_from_lark(grammar), log_level=0)
    assert not matcher.is_error(), f"{matcher.get_error()}\n{grammar}"
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


def section_matcher(
    syntax: CallSyntax, tools: Sequence[Tool], *, many: bool = True
) -> Callable[[str], bool]:
    """Tells of a text that begins with an opener whether the grammar of calls matches it."""

    def match(text: str) -> bool:
        opener = max(filter(text.startswith, syntax.openers), key=len)
        rules = GrammarRules()
        rules.add("start", syntax.grammar(rules, opener, tools, many=many))
        return matches(rules.text(), text[len(opener) :])

    return match


def answer_matcher(
    syntax: WholeSyntax,
    tools: Sequence[Tool] = (),
    *,
    in_thought: bool = False,
    needs_call: bool = False,
    many: bool = True,
    content: str | None = None,
) -> Callable[[str], bool]:
    """Tells of a text whether the grammar of whole answers matches it."""
    rules = GrammarRules()
    answer = syntax.grammar(
        rules, tools, in_thought=in_thought, needs_call=needs_call, many=many, content=content
    )
    rules.add("start", answer)
    return lambda text: matches(rules.text(), text)
