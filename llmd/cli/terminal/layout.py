"""Blocks of Markdown as lines for a terminal.

Lines are made from the top, and more text changes the last ones alone (but for tables, whose
columns widen), so that what scrolled away stays right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from markdown_it.tree import SyntaxTreeNode
from rich import box
from rich.console import Console
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from llmd.cli.terminal.markdown import Block

_STYLES = {"em": "italic", "strong": "bold", "s": "strike"}
_CODE_STYLE = "bold cyan"
_FAINT = "dim"
_NARROWEST = 8
"""Cells that text keeps, however deep it is nested."""


class MarkdownLayout:
    """Lays blocks out for `console`, which knows the colours and the encoding of the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._code_theme = "ansi_light" if _is_light() else "ansi_dark"
        self._kinds: dict[str, Callable[[Block, int], list[Text]]] = {
            "paragraph": self._paragraph,
            "heading": self._heading,
            "fence": self._code,
            "code_block": self._code,
            "bullet_list": self._list,
            "ordered_list": self._list,
            "blockquote": self._quote,
            "hr": lambda _, width: [Text("─" * width, _FAINT)],
            "table": self._table,
        }

    def lines(self, blocks: Iterable[Block], width: int) -> list[Text]:
        """The lines of `blocks` with an empty one between each two, at most `width` cells wide.
        Code is left as long as it is: people copy it.
        """
        lines: list[Text] = []
        for block in blocks:
            if lines:
                lines.append(Text())
            lines += self._kinds[block.type](block, max(width, _NARROWEST))
        return lines

    def wrap(self, text: Text, width: int) -> list[Text]:
        """`text` broken between words into lines."""
        return list(text.wrap(self._console, width)) or [Text()]

    def _paragraph(self, block: Block, width: int) -> list[Text]:
        return self.wrap(_inline(block), width)

    def _heading(self, block: Block, width: int) -> list[Text]:
        text = _inline(block)
        text.stylize("bold underline" if block.tag == "h1" else "bold")
        return self.wrap(text, width)

    def _code(self, block: Block, _width: int) -> list[Text]:
        code = block.content.removesuffix("\n").expandtabs(4)
        language = block.info.split()[0] if block.info.split() else ""
        # Without a background of its own it suits any terminal.
        syntax = Syntax("", language or "text", theme=self._code_theme, background_color="default")
        lit = syntax.highlight(code)
        lit.rstrip()
        lines = list(lit.split("\n", allow_blank=True)) if code else []
        fence = block.markup or "```"
        return [Text(fence + language, _FAINT), *lines, Text(fence, _FAINT)]

    def _list(self, block: Block, width: int) -> list[Text]:
        number = int(block.attrs.get("start", 1)) if block.type == "ordered_list" else None
        lines: list[Text] = []
        for item in block.children:
            marker = " • " if number is None else f"{number}.".rjust(3) + " "
            number = None if number is None else number + 1
            inner: list[Text] = []
            for child in item.children:
                if inner and child.type == "paragraph":
                    inner.append(Text())
                inner += self.lines([child], width - len(marker))
            lines += _prefixed(inner or [Text()], Text(marker), Text(" " * len(marker)))
        return lines

    def _quote(self, block: Block, width: int) -> list[Text]:
        bar = Text("│ ", _FAINT)
        return _prefixed(self.lines(block.children, width - 2), bar, bar)

    def _table(self, block: Block, width: int) -> list[Text]:
        head, *bodies = block.children
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for cell in head.children[0].children:
            side = str(cell.attrs.get("style", "")).rpartition(":")[2]
            justify = {"center": "center", "right": "right"}.get(side, "left")
            table.add_column(_inline(cell), justify=justify, overflow="fold")  # type: ignore[arg-type]
        for body in bodies:
            for row in body.children:
                table.add_row(*(_inline(cell) for cell in row.children))
        options = self._console.options.update(width=width, height=None)
        rows = self._console.render_lines(table, options, pad=False)
        lines = [_from_segments(row) for row in rows]
        return [line for line in lines if line.plain.strip()]


def _inline(block: Block) -> Text:
    text = Text()
    for child in block.children:
        _append(text, child, "")
    return text


def _append(text: Text, node: SyntaxTreeNode, style: str) -> None:
    match node.type:
        case "text":
            text.append(node.content, style)
        case "code_inline":
            text.append(node.content, f"{style} {_CODE_STYLE}")
        # A chat model breaks a line where it wants one: in verses, in addresses.
        case "softbreak" | "hardbreak":
            text.append("\n")
        case "image":
            text.append(f"[{node.content or 'image'}] ({node.attrs.get('src', '')})", style)
        case "link":
            start = len(text)
            for child in node.children:
                _append(text, child, f"{style} underline")
            url = str(node.attrs.get("href", ""))
            if text.plain[start:] not in (url, url.removeprefix("mailto:")):
                text.append(f" ({url})", f"{style} {_FAINT}")
        case kind:
            for child in node.children:
                _append(text, child, f"{style} {_STYLES.get(kind, '')}")


def _prefixed(lines: list[Text], first: Text, others: Text) -> list[Text]:
    return [Text.assemble(others if index else first, line) for index, line in enumerate(lines)]


def _from_segments(segments: list[Segment]) -> Text:
    line = Text()
    for segment in segments:
        line.append(segment.text, segment.style)
    line.rstrip()
    return line


def _is_light() -> bool:
    """Whether the terminal says that its background is light: 7 or 15 of its 16 colours."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15")
