from __future__ import annotations

import re

import pytest
from schema_matching import document_matcher

from llmd.chat.schema.pattern import (
    _REWRITTEN,
    MAX_CHARACTERS,
    PatternFault,
    fixed_start,
    other_texts,
    rust_pattern,
)


def split(pattern: str, texts: str) -> tuple[str, str]:
    """Those of the words in `texts` that may be written, and those that may not."""
    match = document_matcher({"type": "string", "pattern": pattern})
    words = texts.split("|")
    return "|".join(filter(match, words)), "|".join(w for w in words if not match(w))


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("foo", "foo|xfoox", "fo|"),
        ("^foo", "foo|foox", "xfoo"),
        ("foo$", "foo|xfoo", "foox"),
        ("^a|b$", "ax|xb", "x|xa"),
        ("(?:^a|b)c", "ac|xbc", "xac"),
        ("(^a|b)(c|d$)", "ac|xbcx|ad", "adx|xac"),
        ("^$", "", "a"),
        ("^a{2,3}$", "aa|aaa", "a|aaaa"),
        ("^(?<first>a)(?:b)?$", "a|ab", "b"),
        ("^a+?b*?$", "a|aab", "b"),
        ("^}]{$", "}]{", "x"),
        ("^a{,3}$", "a{,3}", "aaa"),
    ],
)
def test_a_pattern_is_found_anywhere_unless_it_is_anchored(
    pattern: str, matched: str, others: str
) -> None:
    assert split(pattern, f"{matched}|{others}") == (matched, others)


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        (r"^\d$", "7", "x|\u0661"),
        (r"^\D$", "x", "7|\u0661"),
        (r"^\w$", "x|_", "-|\u00e9"),
        (r"^\W$", "-", "x|\u00e9"),
        (r"^\s$", " |\t|\u00a0", "x|\u0085|\ufeff"),
        (r"^\S$", "x", " |\u0085|\ufeff"),
        (r"^[^\s]$", "x", " |\u0085"),
        (r"^[^\S]$", " ", "x|\u0085"),
        ("^.$", "x|\U0001f600", "\n|\r|\u2028|xx"),
        ("^[^]$", "x|\n", ""),
        (r"^\u00e9\x41\cJ$", "\u00e9A\n", "x"),
        (r"^\ud83d\ude00\u{1F600}$", "\U0001f600\U0001f600", "x"),
        (r"^\/\<\-\"\\$", '/<-"\\', "x"),
        (r"^\p{Lu}$", "A|\u00c9", "a"),
    ],
)
def test_escapes_mean_what_all_validators_agree_on(pattern: str, matched: str, others: str) -> None:
    assert split(pattern, f"{matched}|{others}") == (matched, others)


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("^[a&&b]$", "a|&|b", "c"),
        ("^[a-c--]$", "a|b|-", "d"),
        ("^[a[b]$", "a|[|b", "]"),
        ("^[\\w-]$", "a|-", " "),
        ("^[\\w-z]$", "a|-|z", " "),
        ("^[+--]$", "+|,|-", "."),
        ("^[~~^]$", "~|^", "a"),
    ],
)
def test_a_class_has_no_set_operations(pattern: str, matched: str, others: str) -> None:
    assert split(pattern, f"{matched}|{others}") == (matched, others)


@pytest.mark.parametrize(
    "pattern", ['^[^"]*$', "^[^\\\\]*$", "^\\P{Po}$", "^[\\P{Po}]$", "^[\\x00-!#-[\\]-\\uffff]*$"]
)
def test_what_a_class_leaves_out_stays_out_when_it_is_escaped(pattern: str) -> None:
    match = document_matcher({"type": "string", "pattern": pattern})
    assert match("a")
    assert not (match('"') and match("\\"))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)", "look-around"),
        ("(?<!a)b", "look-around"),
        ("(a)\\1", "backreference"),
        ("\\bfoo", "word boundary"),
        ("(?i)a", "group of a kind"),
        ("a^b", "anchor"),
        ("(a$)b", "anchor"),
        ("(^a)*", "anchor"),
        ("\\Z", "escape"),
        ("\\p{Script=Greek}", "property"),
        ("\\ud800", "code point"),
        ("a{100001}", "repeats more than"),
        ("(" * 60 + ")" * 60, "deep"),
        ("a" * (MAX_CHARACTERS + 1), "characters"),
    ],
)
def test_what_cannot_be_enforced_is_a_fault(pattern: str, reason: str) -> None:
    with pytest.raises(PatternFault, match=reason) as caught:
        rust_pattern(pattern)
    assert not caught.value.is_invalid


@pytest.mark.parametrize("pattern", ["(a", "a)", "[a", "a**", "*", "[z-a]", "a{3,2}", "\\x4", "\\"])
def test_what_is_no_pattern_is_an_invalid_one(pattern: str) -> None:
    with pytest.raises(PatternFault) as caught:
        rust_pattern(pattern)
    assert caught.value.is_invalid


@pytest.mark.parametrize("pattern", _REWRITTEN)
def test_patterns_of_widespread_generators_are_the_same_without_look_arounds(pattern: str) -> None:
    match = document_matcher({"type": "string", "pattern": pattern})
    parts = (
        "",
        "-",
        ".",
        "..",
        "0",
        "12",
        "a",
        "a.b",
        "a'",
        "@",
        "@b.org",
        "@b",
        "@b-c.d.ee",
        "e1",
    )
    texts = [one + other + last for one in parts for other in parts for last in ("", "@b.cc", ".")]
    wrong = [t for t in texts if match(t) != (re.search(pattern, t) is not None)]
    assert wrong == []


@pytest.mark.parametrize("texts", [["a"], ["a", "ab"], [""], ['"', "\\", "a\nb", "\u00e9"]])
def test_other_texts_are_all_but_those(texts: list[str]) -> None:
    match = document_matcher({"type": "string", "not": {"enum": texts}})
    assert other_texts(texts)
    assert not any(map(match, texts))
    assert all(match(text + "z") for text in texts)


@pytest.mark.parametrize(
    ("pattern", "start"),
    [("^x-", "x-"), ("^ab", "ab"), ("^ab?", "a"), ("x", ""), ("^a|^b", ""), ("^(a)", "")],
)
def test_the_fixed_start_of_a_pattern(pattern: str, start: str) -> None:
    assert fixed_start(rust_pattern(pattern)) == start
