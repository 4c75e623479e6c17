"""Reading what is typed, with the line editing of readline."""

from __future__ import annotations

import readline
import sys
from collections.abc import Callable

PROMPT = ">>> "
MORE = "... "
QUOTES = '"""'


class Cleared(Exception):
    """Ctrl-C was typed; `had_text` says whether there was anything to clear."""

    def __init__(self, *, had_text: bool) -> None:
        super().__init__()
        self.had_text = had_text


class Prompt:
    """Messages of one or several lines; the arrow keys bring earlier ones back."""

    def __init__(self, read_line: Callable[[str], str] = input) -> None:
        self._read_line = read_line
        self._shown: str | None = None
        # Else each line of a pasted text would be a message; Python turns it off (bpo-42819).
        readline.parse_and_bind("set enable-bracketed-paste on")

    def read(self) -> str:
        """The next message. Raises Cleared, and EOFError when there will be no more."""
        line = self._line(PROMPT, had_text=False)
        head, quotes, rest = line.partition(QUOTES)
        if not quotes or head.strip() not in ("", "/system"):
            return line
        lines: list[str] = []
        while QUOTES not in rest:
            lines.append(rest)
            rest = self._line(MORE, had_text=True)
        last, _, after = rest.partition(QUOTES)
        text = "\n".join([*lines, last + after]).strip("\n")
        return head + text

    def _line(self, prompt: str, *, had_text: bool) -> str:
        self._shown = prompt
        try:
            return self._read_line(prompt)
        except KeyboardInterrupt:
            raise Cleared(had_text=had_text or bool(readline.get_line_buffer())) from None
        finally:
            self._shown = None

    def redraw(self) -> None:
        """Something else wrote on the terminal: the line that is being typed, if there is one, is
        shown once more.
        """
        if self._shown is not None:
            sys.stdout.write(self._shown + readline.get_line_buffer())
            sys.stdout.flush()
