"""Reading a text that arrives in pieces as if it were there whole.

A reader is written as one generator, top to bottom, in the order of its format. Wherever more text
may be needed it says `yield from` to a method of its `Scan`, which waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

from llmd.chat.answer.json_stream import STRING_STOPS, JsonStream
from llmd.chat.answer.markers import find_first, first_characters, num_held

Result = TypeVar("Result")
Steps = Generator[None, None, Result]
Emit = Callable[[str], None]

_CHUNK = 4096
_BLANKS = re.compile(r"\s*")


class EndOfText(Exception):
    """The text is over where more of it was needed. Never leaves a reader."""


class Scan:
    """The unread end of a text, and the generator that reads it. Time is linear in the text if
    the generator takes what it looks at.
    """

    def __init__(self) -> None:
        self.text = ""
        """What is not read yet; a generator may take from its front."""
        self.is_over = False
        self.is_cut = False
        self.is_done = False
        """The generator has returned: what is left in `text` is not its business."""
        self._steps: Steps[None] | None = None
        self._taken: list[str] | None = None
        self._plain: tuple[re.Pattern[str], Emit] | None = None
        """While text only passes through: where it may stop to, and who gets it."""

    def start(self, steps: Steps[None]) -> None:
        """Runs `steps` until they need the first text."""
        self._steps = steps
        self._resume()

    def feed(self, text: str) -> None:
        """More text, which the generator reads at once, as far as it can."""
        if self._plain is not None and not self._plain[0].search(text):
            self._plain[1](text)
            return
        # In chunks, as every step behind a marker copies what is left of the text.
        for start in range(0, len(text), _CHUNK):
            if self.is_done:
                self.text += text[start:]
                return
            self.text += text[start : start + _CHUNK]
            self._resume()

    def finish(self, *, is_cut: bool) -> None:
        """No more text will come."""
        self.is_over = True
        self.is_cut = is_cut
        self._resume()

    def _resume(self) -> None:
        if self._steps is None or self.is_done:
            return
        try:
            next(self._steps)
        except (StopIteration, EndOfText):
            self.is_done = True

    def remember(self) -> None:
        """Keeps what is taken from here on, for `taken`."""
        self._taken = []

    def taken(self) -> str:
        """What was taken since `remember`, word by word; it is forgotten now."""
        text = "".join(self._taken or ())
        self._taken = None
        return text

    def take(self, length: int) -> str:
        """The next `length` characters of the text that is there."""
        text = self.text[:length]
        self.text = self.text[length:]
        if self._taken is not None:
            self._taken.append(text)
        return text

    def put_back(self, text: str) -> None:
        """Undoes taking `text`, the last that was taken."""
        self.text = text + self.text
        num_left = len(text)
        while self._taken and num_left:
            last = self._taken.pop()
            if len(last) > num_left:
                self._taken.append(last[:-num_left])
            num_left = max(0, num_left - len(last))

    def more(self) -> Steps[None]:
        """Waits for more text. Raises EndOfText where none will come."""
        if self.is_over:
            raise EndOfText
        yield

    def some(self) -> Steps[None]:
        """Waits until there is text. Raises EndOfText where none will come."""
        while not self.text:
            yield from self.more()

    def blanks(self) -> Steps[str]:
        """Takes blanks, if any; at the end of the text too."""
        blanks: list[str] = []
        while True:
            found = _BLANKS.match(self.text)
            assert found is not None
            blanks.append(self.take(found.end()))
            if self.text or self.is_over:
                return "".join(blanks)
            yield

    def option(self, *options: str) -> Steps[str | None]:
        """Takes the one of `options` that comes next, the longest of several, and says which;
        takes nothing where none does.
        """
        waiting = sorted(options, key=len, reverse=True)
        while waiting:
            if self.text.startswith(waiting[0]):
                return self.take(len(waiting[0])) or None
            may_come = len(self.text) < len(waiting[0]) and waiting[0].startswith(self.text)
            if may_come and not self.is_over:
                yield
            else:
                del waiting[0]
        return None

    def behind_blanks(self, *options: str) -> Steps[str | None]:
        """Like `option`, with blanks in front of it; takes not even these where none comes."""
        blanks: list[str] = []
        taken, self._taken = self._taken, None
        while True:
            found = _BLANKS.match(self.text)
            assert found is not None
            blanks.append(self.take(found.end()))
            if self.text or self.is_over:
                break
            yield
        option = yield from self.option(*options)
        self._taken = taken
        before = "".join(blanks)
        if option is None:
            self.text = before + self.text
        elif taken is not None:
            taken.append(before + option)
        return option

    def run(self, pattern: re.Pattern[str]) -> Steps[str]:
        """Takes the longest run of characters that `pattern`, a repeated class, matches; it may be
        empty.
        """
        parts: list[str] = []
        while True:
            found = pattern.match(self.text)
            parts.append(self.take(found.end() if found else 0))
            if self.text or self.is_over:
                return "".join(parts)
            yield

    def until(self, emit: Emit, *markers: str) -> Steps[str]:
        """Gives all text in front of the first of `markers` to `emit` as it comes, takes the
        marker and says which. Where the text ends before, all of it is given and EndOfText raised.
        """
        while True:
            found = find_first(self.text, markers, is_over=self.is_over)
            if found is not None:
                self._give(found[0], emit)
                return self.take(len(found[1]))
            held = 0 if self.is_over else num_held(self.text, markers)
            self._give(len(self.text) - held, emit)
            yield from self._more_plain(first_characters(markers), emit)

    def until_any(self, emit: Emit, *markers: str) -> Steps[None]:
        """Like `until`, but leaves the marker to be read."""
        marker = yield from self.until(emit, *markers)
        self.put_back(marker)

    def json(self, stream: JsonStream, emit: Emit) -> Steps[None]:
        """Passes text through `stream` to `emit` until it is complete or broken."""
        while True:
            accepted, rest = stream.feed(self.take(len(self.text)))
            if accepted:
                emit(accepted)
            if rest is not None:
                self.put_back(rest)
                return
            if stream.in_string:
                yield from self._more_plain(STRING_STOPS, emit)
            else:
                yield from self.more()

    def _more_plain(self, stops: re.Pattern[str], emit: Emit) -> Steps[None]:
        """Waits for text in which `stops` is found; other text goes to `emit` at once."""
        if not self.text and self._taken is None:
            self._plain = stops, emit
        try:
            yield from self.more()
        finally:
            self._plain = None

    def _give(self, length: int, emit: Emit) -> None:
        if length > 0:
            emit(self.take(length))


def ignore(text: str) -> None:
    """An `Emit` for text that does not count."""
