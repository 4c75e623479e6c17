from __future__ import annotations

import io
from pathlib import Path

import pytest

from llmd.cli.terminal.markdown_screen import MarkdownScreen
from llmd.cli.terminal.plain_screen import PlainScreen, open_screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_the_raw_text_and_a_last_newline() -> None:
    out = io.StringIO()
    screen = open_screen(out)
    screen.thought("Hm")
    screen.status("waiting")
    screen.text("**a**\n")
    screen.line("calls x()")
    screen.text("\x1b[1mb")
    screen.text("")
    screen.finish()
    screen.finish()
    assert out.getvalue() == "**a**\n\x1b[1mb\n"


def test_a_terminal_that_only_prints_tells_thoughts_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    screen = open_screen(out)
    screen.thought("Hm")
    screen.thought(".")
    screen.text("yes\x1b[2J")
    screen.line("calls x()")
    screen.finish()
    assert out.getvalue() == "[thinking]\nHm.\n[answer]\nyes\\x1b[2J\ncalls x()\n"


def test_what_an_encoding_lacks_is_a_question_mark(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w", encoding="latin-1") as out:
        screen = open_screen(out)
        screen.text("é 日")
        screen.finish()
    assert (tmp_path / "out").read_bytes() == b"\xe9 ?\n"


def test_a_terminal_gets_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(open_screen(Terminal()), MarkdownScreen)
    assert isinstance(open_screen(io.StringIO()), PlainScreen)
