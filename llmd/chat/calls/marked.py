"""The common reader of calls between markers, in a section of which models leave out parts."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from llmd.chat.answer.scan import Steps
from llmd.chat.calls.scripted import ScriptedReader


class MarkedReader(ScriptedReader):
    """Reads a section, or calls without one. Each begins with `call_open`; its arguments are JSON,
    and `closers` stand behind them, each of which may be missing. See CallReader.
    """

    call_open: ClassVar[str]
    closers: ClassVar[tuple[str, ...]]
    section_close: ClassVar[str]

    def __init__(self, opener: str) -> None:
        self._opener = opener
        super().__init__(opener)

    @abstractmethod
    def read_head(self) -> Steps[tuple[str, str | None] | None]:
        """Reads up to the arguments; the name and the id of the call, or None where none begins."""

    def read(self) -> Steps[None]:
        scan = self.scan
        marker: str | None = self._opener
        if marker != self.call_open:
            marker = yield from scan.behind_blanks(self.call_open, self.section_close)
        while marker == self.call_open:
            head = yield from self.read_head()
            if head is None:
                self.give_up()
                return
            self.call(*head)
            is_whole = yield from self.json_arguments()
            if not is_whole:
                ends = (self.closers[-1], self.call_open, self.section_close)
                yield from scan.until_any(self.give_text, *ends)
            for closer in self.closers:
                yield from scan.behind_blanks(closer)
            self.begin()
            marker = yield from scan.behind_blanks(self.call_open, self.section_close)
        if marker is None or self.is_begun:
            self.give_up()
        else:
            self.drop()
