"""The last lines of a terminal, which may still change."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output: a terminal that knows it shows what stands between as one picture."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the terminal: with its escape sequences, and as it is read.

    One that `goes_on` fills its row, and the terminal itself breaks it: what is copied there is one
    line with the next.
    """

    ansi: str
    plain: str
    goes_on: bool = False

    def rows(self, columns: int) -> int:
        """How many rows it takes in a terminal that has become narrower."""
        return max(1, -(-cell_len(self.plain) // columns))


def _joined(lines: Sequence[Line]) -> str:
    text = "".join(line.ansi + ("" if line.goes_on else "\n") for line in lines)
    return text.removesuffix("\n")


class Painter:
    """Draws live lines at the bottom of a terminal and rewrites no more of them than changed.

    What has scrolled off the screen is not touched any more. The cursor stands behind the last live
    line; without one it is at the beginning of a row. Every change is a single write.
    """

    def __init__(self, write: Callable[[str], None], size: Callable[[], os.terminal_size]) -> None:
        self._write = write
        self._size = size
        self._drawn: list[Line] = []
        self._is_lost = False
        self._columns = 0

    def draw(self, lines: Sequence[Line], num_kept: int = 0) -> None:
        """Show `lines` in place of the live ones, the first `num_kept` of them for good."""
        if self._is_lost:
            self._is_lost = False
            self._drawn = []
        columns, rows = self._size()
        start = self._unchanged(lines, columns, rows)
        written = _joined(lines[start:])
        if self._is_continued(start, lines):
            written = written[len(self._drawn[start].ansi) :]
        elif start < len(self._drawn):
            written = self._move_to(start, lines, columns) + written
        elif 0 < start < len(lines) and not lines[start - 1].goes_on:
            written = "\n" + written
        if lines and num_kept == len(lines):
            written += "\n"
        if written:
            self._write(written if "\x1b[J" not in written else f"{_BEGIN}{written}{_END}")
        self._drawn, self._columns = list(lines[num_kept:]), columns

    def forget(self) -> None:
        """The cursor was moved by another: what is live is drawn anew from where it stands. May be
        called from a signal handler, also in the middle of `draw`.
        """
        self._is_lost = True

    def _is_continued(self, start: int, lines: Sequence[Line]) -> bool:
        """Whether what is new begins right behind the last live line, where the cursor is."""
        if not start == len(self._drawn) - 1 < len(lines):
            return False
        return lines[start].ansi.startswith(self._drawn[start].ansi)

    def _move_to(self, start: int, lines: Sequence[Line], columns: int) -> str:
        """From behind the last live line to the beginning of that at `start`, and clear there."""
        up = sum(line.rows(columns) for line in self._drawn[start:]) - 1
        clear = (f"\x1b[{up}A" if up else "") + "\r\x1b[J"
        if 0 < start == len(lines):
            # The live lines got fewer: the cursor goes behind the last one that stays.
            above = lines[-1].rows(columns)
            return f"{clear}\x1b[{above}A{lines[-1].ansi}"
        return clear

    def _unchanged(self, lines: Sequence[Line], columns: int, rows: int) -> int:
        """How many lines at the beginning stay as they are."""
        reach = len(self._drawn)
        used = 0
        while reach > 0 and used + self._drawn[reach - 1].rows(columns) <= rows:
            reach -= 1
            used += self._drawn[reach].rows(columns)
        same = 0
        if columns == self._columns:
            for old, new in zip(self._drawn, lines, strict=False):
                if old != new:
                    break
                same += 1
        return min(max(same, reach), len(lines))
