"""An answer as raw text, and the choice between that and what a terminal can show."""

from __future__ import annotations

import os
from typing import TextIO

from llmd.cli.terminal.screen import Screen, printable


class PlainScreen:
    """The raw text of answers and nothing else: for files, pipes, and terminals that only print.

    `told` gets thoughts and lines, each thought between two marks; None drops them.
    """

    def __init__(self, out: TextIO, told: TextIO | None = None) -> None:
        self._out = out
        self._told = told
        self._is_thinking = False
        self._is_open = False

    def thought(self, text: str) -> None:
        if self._told is None:
            return
        if not self._is_thinking:
            self._told.write("[thinking]\n")
            self._is_thinking = True
        self._told.write(printable(text))
        self._told.flush()

    def text(self, text: str) -> None:
        if not text:
            return
        self._end_thought()
        # A terminal must not be steered by a model; a file gets every byte of it.
        self._out.write(printable(text) if self._told else text)
        self._out.flush()
        self._is_open = not text.endswith("\n")

    def line(self, text: str) -> None:
        if self._told is not None:
            self.finish()
            self._told.write(f"{printable(text)}\n")
            self._told.flush()

    def status(self, text: str) -> None:
        pass

    def catch_up(self) -> None:
        pass

    def finish(self) -> None:
        self._end_thought()
        if self._is_open:
            self._out.write("\n")
            self._out.flush()
            self._is_open = False

    def forget(self) -> None:
        pass

    def _end_thought(self) -> None:
        if self._is_thinking and self._told is not None:
            self._told.write("\n[answer]\n")
            self._told.flush()
        self._is_thinking = False


def open_screen(out: TextIO) -> Screen:
    """The screen that suits `out`. What its encoding lacks is shown as a question mark."""
    reconfigure = getattr(out, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    if not out.isatty():
        return PlainScreen(out)
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return PlainScreen(out, out)
    # Pipes have no use for the weight of this.
    from llmd.cli.terminal.markdown_screen import MarkdownScreen

    return MarkdownScreen(out)
