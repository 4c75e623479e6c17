from __future__ import annotations

import pytest

from llmd.chat.calls.section import Section, chunks


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("\n<tool_call>\n<function=", ("<tool_call>", "<function=")),
        ('<invoke name="', ('<invoke name="',)),
        ("[TOOL_CALLS][", ("[TOOL_CALLS]", "[")),
        (" functools[", ("functools[",)),
        ("<a><b>function<c>", ("<a>", "<b>", "function", "<c>")),
        ("\n```</call>", ("```", "</call>")),
        ("]</calls>", ("]", "</calls>")),
        ("[e~[", ("[e~[",)),
        (" \n", ()),
    ],
)
def test_literals_are_cut_where_blanks_may_stand(literal: str, expected: tuple[str, ...]) -> None:
    assert chunks(literal) == expected


def test_every_marker_in_front_of_a_call_opens_it() -> None:
    section = Section("<call>function<sep>", open="<calls>\n")
    assert section.openers == ("<calls>", "<call>", "<sep>")
    assert section.behind("<call>") == ("function", "<sep>")


def test_brackets_and_words_open_nothing_by_themselves() -> None:
    assert Section(open="Action:\n```json\n[").openers == ("Action:",)
    assert Section(open="<calls>[").openers == ("<calls>",)
