from __future__ import annotations

import pytest

from llmd.chat.answer.syntax import MessageSyntax, ThoughtSyntax

SYNTAX = MessageSyntax(header="<bot>", other_headers=("</result>",))


@pytest.mark.parametrize(
    ("prompt", "tail"),
    [
        ("<user>a<bot>", ""),
        ("<bot>b<user>a<bot><think>\n", "<think>\n"),
        ("<bot>b<result>c</result>d", "d"),
        ("no header", ""),
    ],
)
def test_the_tail_of_a_prompt_stands_behind_its_last_header(prompt: str, tail: str) -> None:
    assert SYNTAX.prompt_tail(prompt) == tail


def test_without_a_header_nothing_is_a_tail() -> None:
    assert MessageSyntax(header="").prompt_tail("abc") == ""


def test_thoughts_are_closed_as_the_template_does() -> None:
    assert ThoughtSyntax("<a>", "</a>", "<a>\n", "\n</a>\n\n").closing == "\n</a>\n\n"
    assert ThoughtSyntax("<a>", "</a>").closing == "</a>"
