"""Thoughts: how many tokens they take, and when they have taken enough."""

from __future__ import annotations

import codecs
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtLimits:
    """How a model marks its thoughts, and how long they may be.

    A thought is what stands between `open` and `close`; an empty `open` means that only a prompt
    opens one. `ends` are other texts that end a thought, such as the opener of a call. `is_open`:
    the prompt has opened one. `closing` are the tokens that close a thought when `budget` tokens
    were spent on all thoughts together; None is no limit.
    """

    open: str
    close: str
    is_open: bool = False
    ends: tuple[str, ...] = ()
    closing: tuple[int, ...] = ()
    budget: int | None = None


class ThoughtMeter:
    """Counts the tokens of one sequence's thoughts: those that hold any of what stands between the
    markers, whichever way the text is cut into tokens. Engine thread only.
    """

    def __init__(self, limits: ThoughtLimits) -> None:
        self.closing = limits.closing
        self._limits = limits
        self._openers = (limits.open.encode(),) if limits.open else ()
        self._closers = tuple(text.encode() for text in (limits.close, *limits.ends) if text)
        self._is_inside = limits.is_open
        self._num_counted = 0
        self._position = 0
        """Bytes that were fed."""
        self._held = b""
        """The end of these, which may become the marker that is waited for."""
        self._open_tokens: deque[tuple[int, int]] = deque()
        """Where tokens of which it is not known yet whether they count begin and end."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._is_mid_character = False

    @property
    def num_tokens(self) -> int:
        """So far; what may become a closer counts until it is one."""
        return self._num_counted + (len(self._open_tokens) if self._is_inside else 0)

    @property
    def wants_to_close(self) -> bool:
        """Whether the budget is used up within a thought, at a place where it can be closed: not
        amid a character, and not amid a closer, unless one has begun again and again.
        """
        budget = self._limits.budget
        if budget is None or not self.closing:
            return False
        if not self._is_inside or self.num_tokens < budget:
            return False
        if self._is_mid_character:
            return False
        return not self._held or self.num_tokens >= budget + len(self._limits.close)

    def feed(self, data: bytes) -> None:
        """One token's bytes."""
        start, self._position = self._position, self._position + len(data)
        if self._limits.budget is not None:
            self._decoder.decode(data)
            self._is_mid_character = bool(self._decoder.getstate()[0])
        if not self._held and not self._may_begin_marker(data):
            self._num_counted += self._is_inside
            return
        self._open_tokens.append((start, self._position))
        text = self._held + data
        while (found := self._find(text)) is not None:
            index, marker = found
            begin = self._position - len(text)
            self._settle(begin, begin + index)
            text = text[index + len(marker) :]
            self._is_inside = not self._is_inside
        begin = self._position - len(text)
        self._held = _tail(text, self._markers)
        self._settle(begin, self._position - len(self._held))

    def close(self) -> None:
        """The thought is over here: what closes it comes next, and counts as none of it."""
        self._num_counted = self.num_tokens
        self._open_tokens.clear()
        self._held = b""
        self._is_inside = False

    @property
    def _markers(self) -> tuple[bytes, ...]:
        return self._closers if self._is_inside else self._openers

    def _may_begin_marker(self, data: bytes) -> bool:
        # A token may hold a whole closer and the next opener.
        return any(marker[:1] in data for marker in self._markers)

    def _find(self, text: bytes) -> tuple[int, bytes] | None:
        """The first marker in a text; at the same place the longest."""
        found = [(text.find(marker), -len(marker), marker) for marker in self._markers]
        found = [each for each in found if each[0] >= 0]
        if not found:
            return None
        index, _, marker = min(found)
        return index, marker

    def _settle(self, begin: int, end: int) -> None:
        """What lies between is no marker: it is thought, or it is not."""
        undecided = deque[tuple[int, int]]()
        for token in self._open_tokens:
            holds_some = max(token[0], begin) < min(token[1], end)
            if self._is_inside and holds_some:
                self._num_counted += 1
            elif token[1] > end:
                undecided.append(token)
        self._open_tokens = undecided


def _tail(text: bytes, markers: tuple[bytes, ...]) -> bytes:
    """The longest end of a text that begins a marker and is not all of it."""
    longest = max((len(marker) - 1 for marker in markers), default=0)
    for length in range(min(longest, len(text)), 0, -1):
        if any(marker.startswith(text[-length:]) for marker in markers):
            return text[-length:]
    return b""
