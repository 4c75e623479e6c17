from __future__ import annotations

import pytest
from fakes import FakeVocabulary

from llmd.core.grammar import GrammarSource
from llmd.engine.gbnf import MAX_CHARACTERS, MAX_REPEATS, gbnf_to_lark
from llmd.engine.grammar import GrammarCompiler
from llmd.errors import InvalidRequest

COMPILER = GrammarCompiler(FakeVocabulary())

JSON = r"""
# llama.cpp's way to write JSON
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


def matches(grammar: str, text: str) -> bool:
    """Whether a text is one of the grammar's, whole."""
    constraint = COMPILER.compile(GrammarSource("gbnf", grammar)).start()
    return all(map(constraint.accept, text.encode())) and constraint.may_end


@pytest.mark.parametrize(
    ("grammar", "right", "wrong"),
    [
        ('root ::= "a" "b"', ["ab"], ["a", "abb", "b"]),
        ('root ::= "a" | "b"', ["a", "b"], ["ab", ""]),
        ('root ::= "a"? b\nb ::= "b"+', ["ab", "bb"], ["a", "aab"]),
        ('root ::= ("a" | "b")*', ["", "abba"], ["c"]),
        ('root ::= "a"{2} "b"{1,} "c"{0,2}', ["aab", "aabbcc"], ["ab"]),
        ('root ::= "a"{ 1 , 2 }', ["a", "aa"], ["aaa"]),
        ('root ::= |\n "a"', ["", "a"], ["aa"]),
        ("root ::= .", ["a", "\n", "é", "🙂"], ["", "ab"]),
        ("root ::= [^a-c]", ["d", "\n", "é"], ["a", "b", "c"]),
        ("root ::= [a&&b~~c]+", ["a&b~c"], ["d"]),
        ("root ::= [+--]+", ["+,-"], ["."]),
        ("root ::= [a-]+", ["a-"], ["b"]),
        ("root ::= [/\\]\\[]+", ["/[]"], ["\\"]),
        (r'root ::= "\u0041b\x43"', ["AbC"], ["\u041bC"]),
        (r'root ::= "\U0001F642" [\u00e9]', ["🙂é"], ["é"]),
        (r'root ::= "\"\\\n\t/\[\]"', ['"\\\n\t/[]'], [""]),
        ('root ::= ""', [""], ["a"]),
        ('start ::= "x"\nroot ::= start Start\nStart ::= "y"', ["xy"], ["x"]),
        ('my-rule ::= "-"\nmy_rule ::= "_"\nroot ::= my-rule my_rule', ["-_"], ["__"]),
        ('root ::= "a" # not "b"\n', ["a"], ["ab"]),
        ('root ::= root "b" | "a"', ["a", "abb"], ["b"]),
        ('root ::= "("  root? ")"', ["()", "((()))"], ["(()", ")"]),
        ('root\t::=\n  "a"\r\n\r\n', ["a"], [""]),
    ],
)
def test_a_grammar_means_what_llama_cpp_means(
    grammar: str, right: list[str], wrong: list[str]
) -> None:
    assert [text for text in right if not matches(grammar, text)] == []
    assert [text for text in wrong if matches(grammar, text)] == []


def test_a_repetition_gives_back_what_the_rest_needs() -> None:
    grammar = 'root ::= word "abc" [0-9]\nword ::= [a-z]+'
    assert matches(grammar, "abcabc1")
    assert matches(grammar, "xabc1")
    assert not matches(grammar, "abc1")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"a": [1, -2.5e11, "x\\n", {"b": null}]}', True),
        ("{}", True),
        ('{"a": 1,}', False),
        ('{"a": tru}', False),
        ('["a"]', False),
    ],
)
def test_llama_cpps_own_json_grammar_works(text: str, right: bool) -> None:
    assert matches(JSON, text) is right


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("", "no rule `root`"),
        ('rot ::= "a"', "no rule `root`"),
        ("root ::= other", "no rule `other` (line 1, before 'other')"),
        ('root ::= "a"\nroot ::= "b"', "defined twice (line 2"),
        ("root = x", "expected `::=`"),
        ('root ::= "a', "ends too early"),
        ("root ::= [a", "ends too early"),
        ("root ::= []", "class is empty"),
        ("root ::= [z-a]", "range ends before"),
        ('root ::= ("a"', "expected `)`"),
        ('root ::= "a")', "cannot read this"),
        ('root ::= "\\q"', "escape is unknown"),
        ('root ::= "\\u12"', "escape is unknown"),
        ('root ::= "\\ud800"', "no character of Unicode"),
        ('root ::= "\\U00110000"', "no character of Unicode"),
        ('root ::= "a"{x}', "expected `{m}`"),
        ('root ::= "a"{3,2}', "n of at least m"),
        (f'root ::= "a"{{{MAX_REPEATS + 1}}}', "repetitions"),
        ("root ::= " + "(" * 60 + '"a"' + ")" * 60, "groups within groups"),
        pytest.param(
            f'root ::= "{"a" * MAX_CHARACTERS}"', f"more than {MAX_CHARACTERS} char", id="long"
        ),
        ("root ::= <[1000]>", "cannot read this"),
        ("root ::= !<think>", "cannot read this"),
        ('root ::= "a"\n::= "b"', "expected the name of a rule (line 2"),
        ("root ::= *", "cannot read this"),
    ],
)
def test_what_cannot_be_enforced_is_refused(grammar: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        gbnf_to_lark(grammar)
    assert reason in caught.value.message
    assert caught.value.message.endswith("Correct it.")
    assert caught.value.param == "grammar"
