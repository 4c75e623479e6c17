"""Markdown that comes in pieces, as blocks: those that are finished, and what is still open."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

Block = SyntaxTreeNode
"""A paragraph, heading, list, table, fence, quote or rule at the top level."""

# A model that writes HTML or a reference means it to be read; as rules these would vanish.
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
_PARSER.disable(["reference", "html_block", "html_inline"])

_CODE = ("fence", "code_block")
_DANGLING = re.compile(r"(?:(?<=\s)|^)[*_`~]{1,3}$", re.MULTILINE)
_CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)


class MarkdownStream:
    """A push parser. A block is finished when nothing that is fed later can change it: its own last
    line or an empty one closed it, or a complete line began the next one. What `finished` and
    `flush` give over the time is what the whole text gives at once.
    """

    def __init__(self) -> None:
        self._open = ""
        self._is_news = False

    def feed(self, text: str) -> None:
        self._open += text
        self._is_news = self._is_news or "\n" in text

    def finished(self) -> list[Block]:
        """The blocks finished since the last call."""
        if not self._is_news:
            return []
        self._is_news = False
        # An incomplete line may yet turn out to belong to what stands before it.
        complete = self._open[: self._open.rindex("\n") + 1]
        lines = complete.splitlines(keepends=True)
        blocks = _parse(complete)
        if not blocks:
            return []
        if _is_closed(blocks[-1], lines):
            self._open = self._open[len(complete) :]
            return blocks
        assert blocks[-1].map is not None
        kept = sum(map(len, lines[: blocks[-1].map[0]]))
        self._open = self._open[kept:]
        return blocks[:-1]

    def open(self) -> list[Block]:
        """How what is not finished would look if the text ended here; marks such as ** that were
        opened and not closed are taken as if they were.
        """
        blocks = _parse(self._open)
        if not blocks or blocks[-1].type in _CODE:
            return blocks
        return _parse(_close_marks(self._open))

    def flush(self) -> list[Block]:
        """The rest. The stream is empty afterwards."""
        blocks = _parse(self._open)
        self._open = ""
        self._is_news = False
        return blocks


def _parse(text: str) -> list[Block]:
    return SyntaxTreeNode(_PARSER.parse(text)).children


def _is_closed(block: Block, lines: list[str]) -> bool:
    """Whether the last block of `lines` is finished, whatever comes."""
    assert block.map is not None
    first, behind = block.map
    match block.type:
        case "heading" | "hr":
            return True
        case "paragraph" | "table" | "blockquote":
            return behind < len(lines)
        case "fence":
            is_mark = re.fullmatch(f" {{0,3}}{block.markup[0]}+\\s*", lines[behind - 1])
            is_long = lines[behind - 1].count(block.markup[0]) >= len(block.markup)
            return behind - first > 1 and is_mark is not None and is_long
        case _:
            return False


def _close_marks(text: str) -> str:
    """`text` with the emphasis and the code span of its last paragraph closed."""
    text = _DANGLING.sub("", text)
    paragraph = _CODE_SPAN.sub("", text.rpartition("\n\n")[2])
    code = re.search(r"`+", paragraph)
    if code is not None:
        text += code[0]
        paragraph = paragraph[: code.start()]
    for mark in ("**", "~~"):
        if paragraph.count(mark) % 2:
            return text.rstrip() + mark
    return text
