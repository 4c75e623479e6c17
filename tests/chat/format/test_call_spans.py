from __future__ import annotations

from llmd.chat.format.call_spans import CallSpans, section_around, without_keys
from llmd.chat.format.sentinels import KEYS


def spans(text: str) -> CallSpans:
    """Calls are what stands between asterisks."""
    parts = text.split("*")
    places = []
    position = 0
    for number, part in enumerate(parts):
        if number % 2:
            places.append((position, position + len(part)))
        position += len(part)
    return CallSpans("".join(parts), tuple(places))


def test_what_calls_have_in_common_is_theirs() -> None:
    section, ends = section_around(spans("<s><c>*A*</c>, <c>*B*</c></s><end>"), (), ("<end>",))
    assert (section.open, section.call_open, section.call_close) == ("<s>", "<c>", "</c>")
    assert (section.separator, section.close, ends) == (", ", "</s>", ())


def test_without_a_section_what_follows_ends_the_turn() -> None:
    section, ends = section_around(spans("<c>*A*</c>\n<c>*B*</c><eom>\n"), (), ("<end>",))
    assert (section.open, section.close, section.separator) == ("", "", "\n")
    assert ends == ("<eom>",)


def test_blanks_behind_calls_without_a_section_are_between_them() -> None:
    section, _ = section_around(spans("<c>*A*</c>\n<c>*B*</c>\n<end>"), (), ("<end>",))
    assert (section.call_close, section.separator) == ("</c>", "\n")


def test_what_may_lead_is_taken_off() -> None:
    leads = ("<bot>\n", "<think>", "</think>")
    section, _ = section_around(spans("<bot>\n<think>\n</think>\n<c>*A*</c><c>*B*</c>"), leads, ())
    assert section.call_open == "<c>"


def test_a_single_call_has_all_around_it() -> None:
    section, _ = section_around(spans("<s><c>*A*</c></s>\n<end>"), (), ("<end>",))
    assert (section.call_open, section.call_close) == ("<s><c>", "</c></s>")


def test_keys_in_closers_are_placeholders() -> None:
    assert without_keys(f"</{KEYS[0]}> </{KEYS[1]}>") == "</{key}> </{key}>"
