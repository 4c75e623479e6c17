"""What a terminal shows of what was written to it: enough of one for the sequences llmd uses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rich.cells import get_character_cell_size

_SEQUENCE = re.compile(r"\x1b\[(?P<private>\??)(?P<numbers>[\d;]*)(?P<final>[A-Za-z])")


@dataclass
class _Row:
    cells: list[str] = field(default_factory=list)
    goes_on: bool = False  # in the next row, as the line was too long


class TerminalEmulator:
    """`columns` by `lines`, which scrolls, and wraps its lines anew when it is resized. A wide
    character is one cell with the character and an empty one behind it.
    """

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.columns = columns
        self.lines = lines
        self.raw = ""
        self._rows = [_Row()]  # from the first of the scrollback to the last that was reached
        self._row = 0
        self._column = 0

    def write(self, text: str) -> None:
        self.raw += text
        position = 0
        while position < len(text):
            character = text[position]
            if character == "\x1b":
                found = _SEQUENCE.match(text, position)
                assert found, f"an unknown sequence: {text[position : position + 10]!r}"
                self._perform(found["private"], found["numbers"], found["final"])
                position = found.end()
                continue
            if character == "\n":
                self._column = 0
                self._down()
            elif character == "\r":
                self._column = 0
            elif ord(character) >= 32:
                self._put(character)
            position += 1

    def resize(self, columns: int, lines: int) -> None:
        logical: list[list[str]] = [[]]
        for row in self._rows:
            logical[-1] += row.cells
            if not row.goes_on:
                logical.append([])
        logical.pop()
        self.columns, self.lines = columns, lines
        self._rows, self._row, self._column = [_Row()], 0, 0
        for index, cells in enumerate(logical):
            self.write(("\n" if index else "") + "".join(cells))

    def text(self) -> str:
        """All lines from the first of the scrollback, without the spaces at their ends."""
        lines: list[str] = [""]
        for row in self._rows:
            lines[-1] += "".join(row.cells)
            if not row.goes_on:
                lines.append("")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n")

    def _perform(self, private: str, numbers: str, final: str) -> None:
        if private or final == "m":
            return
        if final == "A":
            top = max(0, len(self._rows) - self.lines)
            self._row = max(top, self._row - int(numbers or 1))
        elif final == "J":
            del self._rows[self._row + 1 :]
            self._erase_line()
        elif final == "K":
            self._erase_line()
        else:
            raise AssertionError(f"an unknown sequence: {numbers}{final}")

    def _erase_line(self) -> None:
        row = self._rows[self._row]
        del row.cells[min(self._column, self.columns - 1) :]
        row.goes_on = False

    def _put(self, character: str) -> None:
        width = get_character_cell_size(character)
        if self._column + width > self.columns:
            self._rows[self._row].goes_on = True
            self._column = 0
            self._down()
        cells = self._rows[self._row].cells
        cells += [" "] * (self._column - len(cells))
        cells[self._column : self._column + width] = [character] + [""] * (width - 1)
        self._column += width

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append(_Row())
