from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fakes import END, VOCABULARY_SIZE, FakeVocabulary

from llmd.core.grammar import GrammarSource
from llmd.engine import grammar
from llmd.engine.grammar import Constraint, ConstraintFailed, GrammarCompiler
from llmd.errors import InvalidRequest, Unsupported

THINK, CLOSE, CALL, OTHER_END, BANNED, EMPTY, HELLO = range(VOCABULARY_SIZE, VOCABULARY_SIZE + 7)
SPECIAL = {"<think>": THINK, "</think>": CLOSE, "<call>": CALL, "<end>": END, "hello": HELLO}


class Vocabulary(FakeVocabulary):
    """The bytes, some tokens of several, and some that must never come."""

    end_of_generation_ids = frozenset({END, OTHER_END})
    suppressed_ids = (BANNED,)

    def all_bytes(self) -> list[bytes]:
        longer = {token: text.encode() for text, token in SPECIAL.items()}
        longer |= {OTHER_END: b"", BANNED: b"banned", EMPTY: b""}
        return super().all_bytes()[:END] + [longer[token] for token in range(END, HELLO + 1)]

    def encode_inside(self, text: str, *, parse_special: bool) -> list[int]:
        for special, token in SPECIAL.items():
            if parse_special and special in text:
                ahead, _, behind = text.partition(special)
                rest = self.encode_inside(behind, parse_special=True)
                return [*self.encode_inside(ahead, parse_special=True), token, *rest]
        return list(text.encode())


def compile_lark(text: str) -> Constraint:
    return GrammarCompiler(Vocabulary()).compile(GrammarSource("lark", text)).start()


def compile_schema(**schema: Any) -> Constraint:
    source = GrammarSource("json_schema", json.dumps(schema))
    return GrammarCompiler(FakeVocabulary()).compile(source).start()


def allowed(constraint: Constraint) -> set[int]:
    return set(np.flatnonzero(constraint.mask()).tolist())


def write(constraint: Constraint, text: str | bytes) -> bool:
    data = text.encode() if isinstance(text, str) else text
    return all(map(constraint.accept, data))


def test_only_what_the_schema_admits_may_stand() -> None:
    constraint = compile_schema(
        type="object",
        properties={"n": {"type": "integer"}},
        required=["n"],
        additionalProperties=False,
    )
    assert not constraint.accept(ord("["))
    assert write(constraint, '{"n": 1')
    assert not constraint.accept(ord("x"))
    assert not constraint.may_end
    assert write(constraint, "2}")
    assert constraint.may_end and constraint.is_complete


def test_a_refused_token_changes_nothing() -> None:
    constraint = compile_lark('start: "ab"')
    assert not constraint.accept(ord("b"))
    assert write(constraint, "ab") and constraint.is_complete


def test_the_mask_agrees_with_what_is_accepted() -> None:
    grammar = GrammarCompiler(Vocabulary()).compile(
        GrammarSource("lark", 'start: /[a-h]+/ | "hell" "o"? | "<think>" /(?s:.*)/')
    )
    for written in ("", "h", "hell", "<think>", "<think>abc"):
        constraint = grammar.start()
        assert write(constraint, written)
        one_by_one = set()
        for token_id in range(HELLO + 1):
            fresh = grammar.start()
            assert write(fresh, written)
            if fresh.accept(token_id):
                one_by_one.add(token_id)
        assert allowed(constraint) == one_by_one


def test_a_marker_may_be_one_special_token_or_plain_ones() -> None:
    for marker in ([CLOSE], [*b"</think>"], [*b"</thin", *b"k>"]):
        constraint = compile_lark('start: t "x"\nt[suffix="</think>"]: /(?s:.*)/')
        assert write(constraint, "thought")
        assert all(map(constraint.accept, marker))
        assert allowed(constraint) == {ord("x")}


def test_thoughts_are_free_and_what_follows_is_not() -> None:
    constraint = compile_lark('start: t "{}"\nt[suffix="</think>"]: /(?s:.*)/')
    assert write(constraint, "any ]]] text\n at all 🙂 < </ </thin")
    assert constraint.accept(HELLO)
    assert constraint.accept(CLOSE)
    assert not constraint.accept(HELLO)
    assert write(constraint, "{}")


def test_the_end_is_allowed_only_where_the_text_is_whole() -> None:
    constraint = compile_lark('start: "a"+')
    assert not constraint.accept(END) and not constraint.accept(OTHER_END)
    assert write(constraint, "a")
    assert allowed(constraint) == {ord("a"), END, OTHER_END}
    assert constraint.accept(OTHER_END)


def test_nothing_forces_an_end_token_by_its_text() -> None:
    constraint = compile_lark('start: "<end>" "a"')
    assert constraint.forced() == [*b"<end>a"]


@pytest.mark.parametrize("token_id", [END, OTHER_END, BANNED, EMPTY, 0xFF])
def test_what_is_no_text_is_never_allowed_within_any_text(token_id: int) -> None:
    constraint = compile_lark('start: /(?s:.*)/ "!"')
    assert not constraint.accept(token_id)
    assert token_id not in allowed(constraint)


def test_broken_utf8_is_never_allowed() -> None:
    constraint = compile_lark("start: /(?s:.*)/")
    assert not constraint.accept(0x80)
    assert write(constraint, b"\xc3")
    assert not constraint.accept(ord("a")) and not constraint.may_end
    assert write(constraint, b"\xa9") and constraint.may_end


def test_what_is_forced_is_cut_as_the_tokenizer_cuts_it() -> None:
    constraint = compile_lark('start: "a<think>b" ("c" | "d")')
    assert constraint.forced() == [ord("a"), THINK, ord("b")]
    assert constraint.allows([ord("a"), THINK, ord("b"), ord("d")])
    assert not constraint.allows([ord("a"), THINK, ord("c")])


def test_nothing_is_forced_where_there_is_a_choice() -> None:
    assert compile_lark('start: "ab" | "cd"').forced() == []
    assert compile_lark('start: "ab"?').forced() == []


def test_a_tokenizer_that_spells_something_else_forces_less() -> None:
    class Sloppy(FakeVocabulary):
        def encode_inside(self, text: str, *, parse_special: bool) -> list[int]:
            return list(text.upper().encode())

    compiled = GrammarCompiler(Sloppy()).compile(GrammarSource("lark", 'start: "1abc"'))
    constraint = compiled.start()
    forced = constraint.forced()
    assert all(map(constraint.accept, forced))
    assert write(constraint, "1abc"[len(forced) :])


def test_a_space_that_the_tokenizer_adds_is_neither_forced_nor_allowed() -> None:
    class Spacing(Vocabulary):
        """As SentencePiece does; its token HELLO is "hello" with a space in front."""

        def all_bytes(self) -> list[bytes]:
            return [*super().all_bytes()[:HELLO], b" hello"]

        def encode_inside(self, text: str, *, parse_special: bool) -> list[int]:
            ahead, special, behind = text.partition("<call>")
            if not parse_special or not special:
                return list(text.encode())
            behind_special = [HELLO] if behind == "hello" else [ord(" "), *behind.encode()]
            return [*ahead.encode(), CALL, *behind_special]

    compiler = GrammarCompiler(Spacing())
    for behind in ("hello", "other"):
        constraint = compiler.compile(GrammarSource("lark", f'start: "<call>{behind}"')).start()
        assert constraint.forced() == [CALL, *behind.encode()]
        assert constraint.accept(CALL)
        assert set(np.flatnonzero(constraint.mask()).tolist()) == {ord(behind[0])}


def test_constraints_of_one_grammar_are_apart() -> None:
    compiled = GrammarCompiler(Vocabulary()).compile(GrammarSource("lark", 'start: "ab"'))
    first, second = compiled.start(), compiled.start()
    assert write(first, "ab") and write(second, "ab")


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("lark", "start: foo", 'unknown name: "foo"'),
        ("lark", "start: (", "Expected token"),
        ("lark", r"start: /[^\s\S]/", "no text matches it"),
        ("gbnf", "root ::= foo", "no rule `foo`"),
        ("json_schema", "{", "no JSON"),
        ("json_schema", "[" * 100_000, "no JSON"),
        ("json_schema", '{"const": "\\ud800"}', "Correct"),
        ("lark", 'start: "\ud800"', "half of a surrogate"),
        ("json_schema", "[]", "object or boolean"),
        ("json_schema", "false", "schema is false"),
        ("json_schema", '{"not": {}}', 'Unimplemented keys: ["not"]'),
        ("json_schema", '{"type": "string", "format": "x"}', "Unknown format: x"),
        ("json_schema", '{}}, {"lark_grammar": "start: /.*/"', "no JSON"),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_the_reason(
    kind: Any, text: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        GrammarCompiler(Vocabulary()).compile(GrammarSource(kind, text))
    message = caught.value.message
    assert reason in message and message.endswith(".")
    assert "\n" not in message and len(message) < 600


def test_a_grammar_of_any_size_is_not_taken() -> None:
    text = f'start: "{"a" * grammar.MAX_SOURCE_CHARACTERS}"'
    with pytest.raises(InvalidRequest, match="Shorten"):
        GrammarCompiler(Vocabulary()).compile(GrammarSource("lark", text))


def chain_of_rules(number: int) -> GrammarSource:
    rules = [f"r{link} ::= r{link + 1}" for link in range(number)]
    return GrammarSource("gbnf", "\n".join(["root ::= r0", *rules, f'r{number} ::= "a"']))


def chain_of_schemas(number: int) -> GrammarSource:
    links: dict[str, Any] = {
        str(link): {"properties": {"x": {"$ref": f"#/$defs/{link + 1}"}}} for link in range(number)
    }
    schema = {"$ref": "#/$defs/0", "$defs": {**links, str(number): {"type": "integer"}}}
    return GrammarSource("json_schema", json.dumps(schema))


@pytest.mark.parametrize(
    "source", [chain_of_rules(3_000), chain_of_schemas(3_000)], ids=["gbnf", "json_schema"]
)
def test_a_long_chain_of_references_does_not_end_the_process(source: GrammarSource) -> None:
    compiled = GrammarCompiler(FakeVocabulary()).compile(source)
    assert compiled.start().mask().any()


def test_a_schema_that_grows_beyond_bounds_is_refused() -> None:
    one_of_many = [
        {"anyOf": [{"properties": {f"{word}{n}": {"type": "string"}}} for n in range(12)]}
        for word in "abcdef"
    ]
    schema = {"type": "object", "allOf": one_of_many}
    with pytest.raises(InvalidRequest, match="too large. Correct or simplify"):
        GrammarCompiler(Vocabulary()).compile(GrammarSource("json_schema", json.dumps(schema)))


def test_a_model_without_an_end_token_cannot_be_constrained() -> None:
    class Endless(FakeVocabulary):
        end_of_generation_ids: frozenset[int] = frozenset()

    with pytest.raises(Unsupported, match="serve another model"):
        GrammarCompiler(Endless()).compile(GrammarSource("lark", 'start: "a"'))


def test_a_dead_end_is_told_and_never_free_text() -> None:
    constraint = compile_lark('start: "a" /[^\\s\\S]/')
    assert write(constraint, "a")
    with pytest.raises(ConstraintFailed, match="cannot go on .* no text matches it"):
        constraint.mask()


def test_what_becomes_too_ambiguous_is_told_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grammar, "STEP_ITEMS", 60)
    text = "start: a*\na: b* | c | a a\nb: /[a-f]/\nc: b b | b"
    constraint = compile_lark(text)
    with pytest.raises(ConstraintFailed, match="cannot go on .* Too many items"):
        for _ in range(50):
            assert constraint.accept(ord("a"))
            constraint.mask()
    for call in (lambda: constraint.accept(ord("a")), constraint.mask, constraint.forced):
        with pytest.raises(ConstraintFailed):
            call()
    assert not constraint.is_complete


def test_a_grammar_is_compiled_once() -> None:
    compiler = GrammarCompiler(Vocabulary())
    source = GrammarSource("lark", 'start: "a"')
    assert compiler.find(source) is None
    compiled = compiler.compile(source)
    assert compiler.compile(GrammarSource("lark", 'start: "a"')) is compiled
    assert compiler.find(source) is compiled


def test_the_grammar_that_was_not_used_the_longest_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grammar, "MAX_COMPILED", 2)
    compiler = GrammarCompiler(Vocabulary())
    first, second, third = (GrammarSource("lark", f'start: "{text}"') for text in "abc")
    for source in (first, second, first, third):
        compiler.compile(source)
    assert compiler.find(first) and compiler.find(third)
    assert compiler.find(second) is None


def test_many_threads_may_compile_at_once() -> None:
    compiler = GrammarCompiler(Vocabulary())
    sources = [GrammarSource("lark", f'start: "x{number % 8}"') for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        compiled = list(pool.map(compiler.compile, sources))
    for source, each in zip(sources, compiled, strict=True):
        assert write(each.start(), source.text[8:10])


def test_the_vocabulary_is_prepared_when_the_first_grammar_comes() -> None:
    class Counting(FakeVocabulary):
        num_reads = 0

        def all_bytes(self) -> list[bytes]:
            self.num_reads += 1
            return super().all_bytes()

    vocabulary = Counting()
    compiler = GrammarCompiler(vocabulary)
    assert vocabulary.num_reads == 0
    compiler.compile(GrammarSource("lark", 'start: "a"'))
    compiler.compile(GrammarSource("lark", 'start: "b"'))
    assert vocabulary.num_reads == 1
