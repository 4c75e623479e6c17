"""What stands around and between calls, and the frame of a reader for it."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from llmd.chat.answer.scan import Steps
from llmd.chat.calls.base import GrammarRules
from llmd.chat.calls.scripted import ScriptedReader

_CHUNK = re.compile(r"<[^<>\n]*(?:>|\Z)|\[/?[A-Z][A-Z_]*\]|<|[^\s<]+")
_MARKER = re.compile(r"""[<\[](?![/{\[]).*\w.*""")


@dataclass(frozen=True)
class Section:
    """The texts around calls, as the template writes them: `open`, then calls with `separator`
    between them, then `close`; each call between `call_open` and `call_close`. Some may be empty,
    but not both openers. Where `open` is empty, every call is a section of its own.
    """

    call_open: str = ""
    call_close: str = ""
    open: str = ""
    separator: str = ""
    close: str = ""

    @cached_property
    def openers(self) -> tuple[str, ...]:
        """Any of these begins a section: models leave the first one out now and then."""
        first, *further = self._opening
        return (first, *(chunk for chunk in further if _MARKER.fullmatch(chunk)))

    def behind(self, opener: str) -> tuple[str, ...]:
        """What has to follow `opener` before a call begins."""
        return self._opening[self._opening.index(opener) + 1 :]

    def grammar(self, rules: GrammarRules, opener: str, call: str, *, many: bool) -> str:
        """The rule for what follows `opener`, with the expression `call` for a call without its
        own markers.
        """
        written = self.open + self.call_open
        lead = written[self._end_of(opener) :].lstrip()
        parts = [rules.blanks(), lead and rules.literal(lead), call]
        parts.append(self.call_close and rules.literal(self.call_close))
        if self.open:
            if many:
                parts.append(f"({self._further(rules, call)})*")
            close = rules.literal(self.close.rstrip()) if self.close.strip() else ""
            is_inner = opener != self._opening[0]
            parts.append(f"({close})?" if close and is_inner else close)
        return rules.add("calls", " ".join(filter(None, parts)))

    def _further(self, rules: GrammarRules, call: str) -> str:
        before = self.separator + self.call_open
        parts = [before and rules.literal(before), call]
        parts.append(self.call_close and rules.literal(self.call_close))
        return " ".join(filter(None, parts))

    def _end_of(self, opener: str) -> int:
        written = self.open + self.call_open
        position = 0
        for chunk in self._opening:
            position = written.index(chunk, position) + len(chunk)
            if chunk == opener:
                break
        return position

    @cached_property
    def _opening(self) -> tuple[str, ...]:
        return chunks(self.open + self.call_open)


@lru_cache(maxsize=1024)
def chunks(literal: str) -> tuple[str, ...]:
    """`literal` cut wherever blanks stand or, next to a marker, could stand."""
    return tuple(found.group().strip() for found in _CHUNK.finditer(literal))


def word_stops(literals: Sequence[str]) -> str:
    """What ends a bare word in front of any of `literals`, for a class of characters: their first
    ones, but for literals that blanks begin, which end words themselves.
    """
    firsts = {chunks(each)[0][0] for each in literals if each.strip() and not each[0].isspace()}
    return re.escape("".join(sorted(firsts)))


class SectionReader(ScriptedReader):
    """Finds the calls of a section; subclasses read one call each, without its markers."""

    def __init__(self, section: Section, opener: str) -> None:
        self.section = section
        self._opener = opener
        super().__init__(opener)

    @abstractmethod
    def read_call(self) -> Steps[bool]:
        """Reads one call; False where there is none."""

    def read(self) -> Steps[None]:
        section = self.section
        is_open = yield from self._opens(section.behind(self._opener))
        while is_open:
            is_call = yield from self.read_call()
            if not is_call:
                break
            self.begin()
            yield from self.close(chunks(section.call_close))
            if not section.open:
                self.drop()
                return
            self.begin()
            is_open = yield from self._goes_on()
            if not is_open:
                return
        self.give_up()

    def close(self, closers: tuple[str, ...]) -> Steps[None]:
        """Takes what is there of `closers`; a missing one is forgiven."""
        for closer in closers:
            found = yield from self.scan.behind_blanks(closer)
            if found is None and self.scan.is_over and closer.startswith(self.scan.text.strip()):
                self.scan.text = ""

    def _opens(self, openers: tuple[str, ...]) -> Steps[bool]:
        for opener in openers:
            found = yield from self.scan.behind_blanks(opener)
            # Models write a single call without its array.
            if found is None and opener != "[":
                return False
        return True

    def _goes_on(self) -> Steps[bool]:
        """Behind a call: whether another one follows."""
        section = self.section
        call_open, close = chunks(section.call_open), chunks(section.close)
        separator = section.separator.strip()
        options = (*call_open[:1], *close[:1], separator, "" if call_open else "{")
        option = yield from self.scan.behind_blanks(*filter(None, options))
        if option == separator and option:
            if not call_open:
                return True
            option = yield from self.scan.behind_blanks(call_open[0])
        if call_open and option == call_open[0]:
            return (yield from self._opens(call_open[1:]))
        if option == "{":
            self.scan.put_back(option)
            self.begin()
            return True
        if option is not None:
            yield from self.close(close[1:])
            self.drop()
        elif self.scan.is_over and any(o.startswith(self.scan.text.strip()) for o in close[:1]):
            self.scan.text = ""
        return False
