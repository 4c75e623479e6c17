from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.cli.terminal.markdown import Block, MarkdownStream

ANSWER = """\
# Title

A paragraph with **bold** and `code`
in two lines.
- one
- two
  1. nested

  more of two

> quoted
> > twice

| a | b |
|---|--:|
| 1 | 2 |

```python
def f():

    return "```"
```
Heading
===
***
    indented

last
"""


def described(blocks: list[Block]) -> list[object]:
    return [
        (block.type, [block.content for block in block.walk() if not block.children])
        for block in blocks
    ]


def whole(text: str) -> list[object]:
    stream = MarkdownStream()
    stream.feed(text)
    return described(stream.flush())


def streamed(text: str) -> list[object]:
    stream = MarkdownStream()
    blocks = []
    for character in text:
        stream.feed(character)
        blocks += described(stream.finished())
        stream.open()
    return blocks + described(stream.flush())


def test_one_character_at_a_time_gives_the_blocks_of_the_whole() -> None:
    assert streamed(ANSWER) == whole(ANSWER)
    assert len(whole(ANSWER)) == 10


@given(st.text(st.sampled_from("#-*`|> 1.\n\n\nab\t=~"), max_size=60))
def test_that_holds_for_any_text(text: str) -> None:
    assert streamed(text) == whole(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("one\n\ntw", "paragraph"),
        ("# one\ntw", "heading"),
        ("```\none\n```\ntw", "fence"),
        ("|a|\n|-|\n|1|\n\ntw", "table"),
        ("> one\n\ntw", "blockquote"),
    ],
)
def test_a_block_that_is_closed_is_given_at_once(text: str, kind: str) -> None:
    stream = MarkdownStream()
    stream.feed(text)
    assert [block.type for block in stream.finished()] == [kind]
    assert described(stream.open()) == [("paragraph", ["tw"])]


@pytest.mark.parametrize("text", ["- one\n\ntw", "```\none\n\n``", "````\n```\n", "one\ntw"])
def test_a_block_that_may_go_on_is_kept(text: str) -> None:
    stream = MarkdownStream()
    stream.feed(text)
    assert stream.finished() == []


def test_the_line_of_a_new_block_closes_a_list() -> None:
    stream = MarkdownStream()
    stream.feed("- one\n\ntwo\n")
    assert [block.type for block in stream.finished()] == ["bullet_list"]


def test_a_line_that_may_become_a_title_leaves_its_paragraph_open() -> None:
    stream = MarkdownStream()
    stream.feed("title\n--")
    assert stream.finished() == []
    stream.feed("-\n\ntext\n")
    assert [block.tag for block in stream.finished()] == ["h2"]


def spelled(node: Block) -> str:
    inner = "".join(spelled(child) for child in node.children) or node.content
    return inner if node.type in ("text", "inline", "paragraph") else f"<{node.tag}>{inner}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("so **bold", "so <strong>bold"),
        ("so **", "so"),
        ("so **bold `x", "so <strong>bold <code>x"),
        ("so `x **", "so <code>x "),
        ("so ~~gone", "so <s>gone"),
        ("so `a **b` c", "so <code>a **b c"),
        ("**done**\n\nso **bold", "<strong>done|so <strong>bold"),
    ],
)
def test_marks_that_are_still_open_are_shown_as_closed(text: str, shown: str) -> None:
    stream = MarkdownStream()
    stream.feed(text)
    assert "|".join(map(spelled, stream.open())) == shown


def test_what_is_inside_a_fence_is_left_alone() -> None:
    stream = MarkdownStream()
    stream.feed("```\na ** b")
    assert stream.open()[0].content == "a ** b"


def test_html_and_references_stay_readable() -> None:
    assert whole("<b>hi</b>\n\n[1]: http://a.b\n") == [
        ("paragraph", ["<b>hi</b>"]),
        ("paragraph", ["[1]: http://a.b"]),
    ]
