"""What stands on a terminal while an answer comes, and after it."""

from __future__ import annotations

import io
import os
import re

import pytest
from rich.console import Console
from terminal_emulator import TerminalEmulator

from llmd.cli.terminal.markdown_screen import FRAME, MarkdownScreen

ANSWER = """\
# Animals

Some **bold** words, `code` and a [link](http://a.b), in a paragraph that is too long for one line.
And 日本語の文字 wide ones, twice: 日本語の文字日本語の文字日本語の文字.

- one
- two with so many words that it takes another line
  1. nested
  2. nested

> quoted words that go on and on until they need a line more

| name | legs |
|------|-----:|
| cat  | 4    |
| a very long name of some animal | 100 |

```python
def legs(animal):
    return {"cat": 4, "ant": 6, "and a line that is longer than the terminal is wide": 0}[animal]
```

---

The end.
"""


class Out(io.StringIO):
    """A stream that is a terminal of an emulator's size."""

    def __init__(self, terminal: TerminalEmulator, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal = terminal
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._terminal.write(text.encode(self._encoding, "replace").decode(self._encoding))
        return len(text)


class Clock:
    """A picture's time is over whenever a text comes; drawing takes no time."""

    def __init__(self) -> None:
        self.num_asked = 0

    def __call__(self) -> float:
        self.num_asked += 1
        return (self.num_asked + 2) // 3 * 2 * FRAME


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLORTERM", "COLORFGBG", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def open_screen(
    terminal: TerminalEmulator, monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8"
) -> MarkdownScreen:
    out = Out(terminal, encoding)
    monkeypatch.setattr(
        os, "get_terminal_size", lambda _fd: os.terminal_size((terminal.columns, terminal.lines))
    )
    monkeypatch.setattr(out, "fileno", lambda: 1)
    return MarkdownScreen(out, Clock(), Console(file=out, force_terminal=True, highlight=False))


def show(
    text: str, monkeypatch: pytest.MonkeyPatch, *, pieces: int, columns: int = 40, lines: int = 24,
    encoding: str = "utf-8",
) -> TerminalEmulator:  # fmt: skip
    terminal = TerminalEmulator(columns, lines)
    screen = open_screen(terminal, monkeypatch, encoding)
    for start in range(0, len(text), pieces):
        screen.text(text[start : start + pieces])
    screen.finish()
    return terminal


@pytest.mark.parametrize(("columns", "lines"), [(12, 24), (40, 4), (200, 24)])
def test_one_character_at_a_time_leaves_what_the_whole_leaves(
    columns: int, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = show(ANSWER, monkeypatch, pieces=len(ANSWER), columns=columns, lines=lines)
    streamed = show(ANSWER, monkeypatch, pieces=1, columns=columns, lines=lines)
    assert streamed.text() == whole.text()


def test_markdown_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = show(ANSWER, monkeypatch, pieces=7, columns=60).text()
    for shown in (
        "Animals\n\nSome bold words, code and a link (http://a.b), in a\nparagraph",
        " • one\n • two with",
        "    1. nested\n    2. nested\n",
        "│ quoted words",
        "a very long name of some animal    100",
        "```python\ndef legs(animal):\n    return {",
        "is wide\": 0}[animal]\n```\n",
        f"\n\n{'─' * 59}\n\nThe end.",
    ):  # fmt: skip
        assert shown in text


def test_what_is_finished_is_never_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "first words here\n\n" + "more words " * 20
    terminal = show(text, monkeypatch, pieces=1)
    assert terminal.raw.count("first words here") == 1
    assert "\x1b[2J" not in terminal.raw


def test_a_growing_paragraph_is_written_on_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalEmulator(40, 24)
    screen = open_screen(terminal, monkeypatch)
    screen.text("word " * 30)
    before = len(terminal.raw)
    screen.text("end")
    assert terminal.raw[before:] == " end"


def test_a_changed_line_is_rewritten_alone_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalEmulator(40, 24)
    screen = open_screen(terminal, monkeypatch)
    screen.text("word " * 30 + "`co")
    before = len(terminal.raw)
    screen.text("de")
    rewritten = terminal.raw[before:]
    assert rewritten.startswith("\x1b[?2026h\r\x1b[J") and rewritten.endswith("\x1b[?2026l")
    assert "code" in rewritten and rewritten.count("word") < 9


def test_code_is_lit_and_may_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = show("```python\nif True:\n    x = 'y'\n```\n", monkeypatch, pieces=3)
    assert terminal.text() == "```python\nif True:\n    x = 'y'\n```"
    assert re.search(r"\x1b\[[\d;]+mif", terminal.raw)


def test_thoughts_are_faint_and_stand_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalEmulator(40)
    screen = open_screen(terminal, monkeypatch)
    for character in "\nLet me *see*.\n\nYes.\n\n":
        screen.thought(character)
    screen.text("Done.")
    screen.finish()
    assert terminal.text() == "Let me *see*.\n\nYes.\n\nDone."
    assert re.search(r"\x1b\[2mLet me", terminal.raw)


def test_a_line_between_texts_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalEmulator(40)
    screen = open_screen(terminal, monkeypatch)
    screen.text("Let me look.")
    screen.line("calls look(*x*)")
    screen.finish()
    screen.text("next")
    screen.finish()
    assert terminal.text() == "Let me look.\n\ncalls look(*x*)\nnext"


def test_a_status_gives_way_to_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalEmulator(40)
    screen = open_screen(terminal, monkeypatch)
    screen.status("reading 1 of 2 tokens ...")
    assert terminal.text() == "reading 1 of 2 tokens ..."
    screen.text("Hi")
    assert terminal.text() == "Hi"
    screen.finish()
    screen.status("reading")
    screen.finish()
    assert terminal.text() == "Hi"


@pytest.mark.parametrize("columns", [20, 60])
def test_the_terminal_may_be_resized_in_the_middle(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = TerminalEmulator(40, 24)
    screen = open_screen(terminal, monkeypatch)
    words = [f"word{number}" for number in range(30)]
    screen.text("before\n\n" + " ".join(words[:15]))
    terminal.resize(columns, 24)
    screen.text(" " + " ".join(words[15:]))
    screen.finish()
    assert terminal.text().split() == ["before", *words]


def test_after_another_wrote_the_open_block_is_drawn_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = TerminalEmulator(40)
    screen = open_screen(terminal, monkeypatch)
    screen.text("finished\n\nopen")
    terminal.write("^Z\n[1]+ Stopped\n")
    screen.forget()
    screen.text(" again")
    screen.finish()
    assert terminal.text().splitlines()[-1] == "open again"
    assert terminal.text().count("finished") == 1


def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    raw = show(ANSWER, monkeypatch, pieces=9).raw
    codes = {int(code or 0) for found in re.findall(r"\x1b\[([\d;]*)m", raw)
             for code in found.split(";")}  # fmt: skip
    assert codes and all(code < 30 for code in codes)


def test_a_terminal_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    text = show(f"“So”…\n\n{ANSWER}", monkeypatch, pieces=5, columns=60, encoding="ascii").text()
    assert text.isascii()
    for shown in ('"So"...', " * one", "| quoted", "-" * 59, "?"):
        assert shown in text


def test_a_model_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = show("a\x1b[2Jb\r\n\x07\x9bc", monkeypatch, pieces=1).text()
    assert text == "a\\x1b[2Jb\n\\x07\\x9bc"


def test_drawing_waits_for_the_next_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalEmulator(40)
    screen = open_screen(terminal, monkeypatch)
    monkeypatch.setattr(screen, "_clock", lambda: 1.0)
    screen.text("a")
    screen.text("b")
    assert terminal.text() == "a"
    screen.catch_up()
    assert terminal.text() == "ab"
    screen.text("c")
    screen.finish()
    assert terminal.text() == "abc"
