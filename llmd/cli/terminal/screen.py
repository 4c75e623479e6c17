"""Where an answer is shown while it comes."""

from __future__ import annotations

from typing import Protocol

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))}
_ESCAPES |= {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): ""}


class Screen(Protocol):
    """Shows one answer after the other. Texts come in pieces as the model writes them."""

    def thought(self, text: str) -> None: ...

    def text(self, text: str) -> None: ...

    def line(self, text: str) -> None:
        """A line of its own that is not the model's."""
        ...

    def status(self, text: str) -> None:
        """What goes on while there is nothing to show; the next thing shown takes its place."""
        ...

    def catch_up(self) -> None:
        """Nothing comes for a moment: what was not drawn yet is drawn."""
        ...

    def finish(self) -> None:
        """The answer is over, or was stopped: what was held back is shown."""
        ...

    def forget(self) -> None:
        """Something else wrote on the terminal."""
        ...


def printable(text: str) -> str:
    """`text` without what would steer a terminal."""
    return text.translate(_ESCAPES)
