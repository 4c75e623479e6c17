"""An answer on a terminal: Markdown laid out while it comes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from rich.cells import get_character_cell_size
from rich.console import Console
from rich.text import Text

from llmd.cli.terminal.layout import MarkdownLayout
from llmd.cli.terminal.markdown import MarkdownStream
from llmd.cli.terminal.painter import Line, Painter
from llmd.cli.terminal.screen import printable

FRAME = 1 / 60
"""Seconds between two pictures at least."""

SHARE = 4
"""Drawing takes at most one part in so many of the time: what takes long is drawn less often."""

# What a terminal without Unicode gets for the typography of the layout and of models.
_ASCII = str.maketrans({
    "•": "*", "│": "|", "─": "-", "—": "-", "–": "-", "…": "...",
    "‘": "'", "’": "'", "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " ",
})  # fmt: skip


class _Thoughts:
    """The part of an answer that the model thinks: faint lines, as they come."""

    def __init__(self, layout: MarkdownLayout) -> None:
        self._layout = layout
        self._open = ""
        self._has_begun = False

    def feed(self, text: str) -> None:
        self._open += text
        if not self._has_begun:
            self._open = self._open.lstrip()
            self._has_begun = bool(self._open)

    def finished(self, width: int) -> list[list[Text]]:
        # Empty lines wait: at the end of a thought there are to be none.
        complete, newline, _ = self._open.rstrip().rpartition("\n")
        self._open = self._open[len(complete) + len(newline) :]
        return [self._lay_out(complete, width)] if newline else []

    def open(self, width: int, _rows: int) -> list[Text]:
        text = self._open.rstrip()
        return self._lay_out(text, width) if text else []

    def flush(self, width: int) -> list[list[Text]]:
        rest = self.open(width, 0)
        self._open = ""
        return [rest] if rest else []

    def _lay_out(self, text: str, width: int) -> list[Text]:
        return self._layout.wrap(Text(text, "dim"), width)


class _Answer:
    """The part of an answer that is meant for the reader."""

    def __init__(self, layout: MarkdownLayout) -> None:
        self._layout = layout
        self._stream = MarkdownStream()

    def feed(self, text: str) -> None:
        self._stream.feed(text)

    def finished(self, width: int) -> list[list[Text]]:
        return [self._layout.lines([block], width) for block in self._stream.finished()]

    def open(self, width: int, rows: int) -> list[Text]:
        blocks = self._stream.open()
        lines = self._layout.lines(blocks, width)
        # The next row of a table may widen its columns, and what scrolled away would stay narrow.
        return lines[-rows:] if blocks and blocks[-1].type == "table" else lines

    def flush(self, width: int) -> list[list[Text]]:
        return [self._layout.lines([block], width) for block in self._stream.flush()]


class MarkdownScreen:
    """A terminal: Markdown laid out while it comes. A finished block is written once and belongs to
    the scrollback; the open one is live.
    """

    def __init__(
        self,
        out: TextIO,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._out = out
        self._clock = clock
        self._console = console or Console(file=out, force_terminal=True, highlight=False)
        self._layout = MarkdownLayout(self._console)
        self._painter = Painter(self._write, self._size)
        self._part: _Thoughts | _Answer | None = None
        # Whether what is drawn next is set off by an empty line.
        self._has_gap = False
        self._due = 0.0

    def thought(self, text: str) -> None:
        if not isinstance(self._part, _Thoughts):
            self._end_part()
            self._part = _Thoughts(self._layout)
        self._feed(text)

    def text(self, text: str) -> None:
        if not isinstance(self._part, _Answer):
            self._end_part()
            self._part = _Answer(self._layout)
        self._feed(text)

    def line(self, text: str) -> None:
        self._end_part()
        self._draw([self._layout.wrap(Text(printable(text)), self._width())], [])
        self._has_gap = True

    def status(self, text: str) -> None:
        if self._part is None:
            self._draw([], [Text(text, "dim")])

    def finish(self) -> None:
        self._end_part()
        self._draw([], [])
        self._has_gap = False

    def forget(self) -> None:
        self._painter.forget()

    def _feed(self, text: str) -> None:
        assert self._part is not None
        self._part.feed(printable(text))
        if self._clock() >= self._due:
            self.catch_up()

    def catch_up(self) -> None:
        if self._part is None:
            return
        now, width = self._clock(), self._width()
        finished = self._part.finished(width)
        self._draw(finished, self._part.open(width, self._size().lines - 2))
        after = self._clock()
        self._due = after + max(FRAME, (SHARE - 1) * (after - now))

    def _end_part(self) -> None:
        if self._part is not None:
            width = self._width()
            self._draw([*self._part.finished(width), *self._part.flush(width)], [])
            self._has_gap = True
        self._part = None
        self._due = 0.0

    def _draw(self, finished: Sequence[Sequence[Text]], live: Sequence[Text]) -> None:
        """Show the finished groups of lines for good, and `live` behind them."""
        lines: list[Text] = []
        for group in finished:
            lines += [Text(), *group] if self._has_gap else group
            self._has_gap = isinstance(self._part, _Answer)
        columns = self._size().columns
        rows = [row for line in lines for row in _split(line, columns)]
        num_kept = len(rows)
        if live:
            shown = [Text(), *live] if self._has_gap else live
            rows += [row for line in shown for row in _split(line, columns)]
        self._painter.draw(self._written(rows), num_kept)

    def _written(self, rows: Sequence[tuple[Text, bool]]) -> list[Line]:
        if not rows:
            return []
        with self._console.capture() as captured:
            self._console.print(Text("\n").join(row for row, _ in rows), soft_wrap=True, end="")
        ansi = captured.get().split("\n")
        return [Line(text, row.plain, on) for text, (row, on) in zip(ansi, rows, strict=True)]

    def _width(self) -> int:
        # Not the last column, where terminals disagree about what comes next.
        return max(1, self._size().columns - 1)

    def _size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            size = os.terminal_size((0, 0))
        return size if size.columns and size.lines else shutil.get_terminal_size()

    def _write(self, text: str) -> None:
        is_unicode = self._console.encoding.startswith("utf")
        self._out.write(text if is_unicode else text.translate(_ASCII))
        self._out.flush()


def _split(line: Text, columns: int) -> list[tuple[Text, bool]]:
    """The rows that a line takes, and whether each goes on in the next."""
    if line.cell_len <= columns:
        return [(line, False)]
    offsets, column = [], 0
    for offset, character in enumerate(line.plain):
        width = get_character_cell_size(character)
        if column + width > columns:
            offsets.append(offset)
            column = 0
        column += width
    rows = line.divide(offsets)
    return [(row, index < len(offsets)) for index, row in enumerate(rows)]
