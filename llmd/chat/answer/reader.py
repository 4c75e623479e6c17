"""The common reader of answers: a thought, text and calls, told apart by their markers."""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import lru_cache
from typing import Protocol

from llmd.chat.answer.markers import find_first, num_held
from llmd.chat.answer.piece import CallStarted, Piece, Text, Thought
from llmd.chat.calls.base import CallReader, CallSyntax, ToolSchemas

_LONGEST_STEP = 2048
"""Longer texts are read in steps, so that cutting the text behind a marker stays cheap."""


class AnswerReader(Protocol):
    """Reads one answer as it is generated. Nothing raises, time is linear in the text, and how
    the text is cut into feeds does not change the concatenated pieces. One thread at a time.
    """

    @property
    def in_thought(self) -> bool:
        """Whether more text would be a thought."""

    def feed(self, text: str) -> list[Piece]:
        """What is certain so far. Held back is only what may become a marker."""

    def flush(self, *, is_cut: bool = False) -> list[Piece]:
        """The rest. `is_cut` says that a length limit ended the answer: then the arguments of an
        unfinished call stay unfinished.
        """


class _State(Enum):
    SEAM = auto()
    """At the start, behind a thought or behind calls: whatever has an opener may begin."""
    TEXT = auto()
    THOUGHT = auto()
    CALLS = auto()


class FrameReader:
    """Reads answers whose thought, text and calls are each marked, in any order.

    `thought` and `content` are pairs of markers, without outer blanks. Blanks behind a thought and
    around calls belong to nobody; all other text is passed on as it is. Within a text a thought
    begins only where its opener looks like a control token: a tag may be a word like others there.
    """

    def __init__(
        self,
        prompt_tail: str,
        tools: ToolSchemas,
        *,
        thought: tuple[str, str] | None = None,
        content: tuple[str, str] = ("", ""),
        calls: CallSyntax | None = None,
        ends: tuple[str, ...] = (),
        noise: tuple[str, ...] = (),
        splits_thoughts: bool = True,
        keeps_prefill: bool = False,
    ) -> None:
        self._tools = tools
        self._calls = calls
        self._openers = openers = calls.openers if calls else ()
        self._thought_open, self._thought_close = thought or ("", "")
        self._content_open, self._content_close = content
        self._ends = ends
        self._splits_thoughts = splits_thoughts
        interrupting = openers if calls and calls.ends_thoughts else ()
        # Within a thought a mere tag around the content may be a word like others.
        interrupting += _control_token(self._content_open)
        markers = {
            _State.SEAM: (
                *(*(thought or ()), content[0], *_control_token(content[1])),
                *(*openers, *ends, *noise),
            ),
            _State.TEXT: (*_control_token(self._thought_open), *openers, *ends, *noise),
            _State.THOUGHT: (self._thought_close, *interrupting, *ends),
        }
        self._markers = {state: tuple(filter(None, each)) for state, each in markers.items()}
        self._state = _State.SEAM
        self._is_content_open = bool(content[1]) and not content[0]
        self._drops_blanks = False
        """The next blanks belong to nobody."""
        self._buffer = ""
        self._pending: list[str] = []
        """Blanks and ends that are passed on once other text follows."""
        self._has_ended = False
        self._call_reader: CallReader | None = None
        self._has_called = False
        """The calls that are being read have brought forth one."""
        self._interrupts_thought = False
        self._num_prefilled = 0
        """How much of what is held stood in the prompt already."""
        self._pieces: list[Piece] = []
        self._read_prompt(prompt_tail, keeps_prefill)

    @property
    def in_thought(self) -> bool:
        return self._state is _State.THOUGHT

    def feed(self, text: str) -> list[Piece]:
        if not (self._buffer or self._pending or self._pieces or self._drops_blanks):
            # The usual case: plain text in the middle of a text or thought.
            if self._state is _State.TEXT or self._state is _State.THOUGHT:
                if text and not _stops(self._watched()).search(text):
                    is_thought = self._state is _State.THOUGHT and self._splits_thoughts
                    return [Thought(text) if is_thought else Text(text)]
        self._read(text)
        pieces, self._pieces = self._pieces, []
        return pieces

    def flush(self, *, is_cut: bool = False) -> list[Piece]:
        self._advance(is_last=True)
        if self._call_reader is not None:
            self._take(self._call_reader.flush(is_cut=is_cut))
        if self._has_ended:
            self._pending.clear()
        self._pass_on("")
        pieces, self._pieces = self._pieces, []
        return pieces

    def _read_prompt(self, prompt_tail: str, keeps_prefill: bool) -> None:
        self._read(prompt_tail)
        if keeps_prefill:
            return
        pieces, self._pieces = self._pieces, []
        if self.in_thought and pieces[-1:] == [Text(self._thought_open)]:
            # Where thoughts are text, the opener in the prompt is a part of it, if one follows.
            self._pending.insert(0, self._thought_open)
        else:
            self._num_prefilled = len(self._buffer) + sum(map(len, self._pending))

    def _read(self, text: str) -> None:
        for start in range(0, len(text), _LONGEST_STEP):
            self._buffer += text[start : start + _LONGEST_STEP]
            self._advance()

    def _advance(self, *, is_last: bool = False) -> None:
        """Reads the buffer as far as it is certain; all of it with `is_last`."""
        goes_on = True
        while self._buffer and goes_on:
            if self._call_reader is not None:
                step, self._buffer = self._buffer, ""
                self._take(self._call_reader.feed(step))
                self._leave_calls()
            elif self._state is _State.SEAM:
                goes_on = self._read_seam(is_last)
            else:
                goes_on = self._read_until_marker(is_last)

    def _read_seam(self, is_last: bool) -> bool:
        """Whatever begins here, behind blanks; False where more text must decide."""
        text = self._buffer.lstrip()
        self._hold(self._buffer[: len(self._buffer) - len(text)])
        self._buffer = text
        markers = self._watched()
        if text and not is_last and num_held(text, markers) == len(text):
            return False
        found = find_first(text, markers, is_over=is_last)
        if found is not None and found[0] == 0:
            self._meet(found[1])
        elif text:
            self._state = _State.TEXT
        return True

    def _read_until_marker(self, is_last: bool) -> bool:
        """Passes on what stands before the next marker; False where there is none yet."""
        markers = self._watched()
        found = find_first(self._buffer, markers, is_over=is_last)
        held = 0 if is_last else num_held(self._buffer, markers)
        end = len(self._buffer) - held
        if found is not None and found[0] < end:
            end = found[0]
        else:
            found = None
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        body = text.rstrip()
        if body:
            self._pass_on(body.lstrip() if self._drops_blanks else body)
        self._hold(text[len(body) :])
        if found is not None:
            self._meet(found[1])
        return found is not None

    def _meet(self, marker: str) -> None:
        """`marker` stands at the start of the buffer."""
        self._buffer = self._buffer[len(marker) :]
        if marker in self._ends and not (marker == self._thought_close and self.in_thought):
            self._pending.append(marker)
            self._has_ended = True
        elif marker in self._openers:
            assert self._calls is not None
            self._interrupts_thought = self._state is _State.THOUGHT
            self._state = _State.CALLS
            self._call_reader = self._calls.reader(marker, self._tools)
        elif marker in (self._thought_open, self._thought_close):
            is_open = marker == self._thought_open and self._state is not _State.THOUGHT
            if self._splits_thoughts:
                self._drop_pending()
            else:
                self._pass_on(marker)
            self._drops_blanks = self._splits_thoughts
            self._state = _State.THOUGHT if is_open else _State.SEAM
        elif self._is_content_open and marker == self._content_close:
            self._pass_on("")
            self._is_content_open = False
            self._drops_blanks = True
            self._state = _State.SEAM
        elif marker == self._content_open:
            self._drop_pending()
            self._drops_blanks = False
            self._is_content_open = bool(self._content_close)
            self._state = _State.TEXT
        else:
            # Noise, perhaps the model's header for a further message of the same turn, or the end
            # of a content that was not opened.
            self._state = _State.SEAM

    def _take(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, CallStarted) and not self._has_called:
                self._has_called = True
                self._drop_pending()
            if isinstance(piece, Text):
                self._pass_on(piece.text)
            else:
                self._pieces.append(piece)

    def _leave_calls(self) -> None:
        assert self._call_reader is not None
        rest = self._call_reader.rest
        if rest is None:
            return
        self._buffer = rest
        self._call_reader = None
        if self._has_called:
            self._state = _State.SEAM
            self._drops_blanks = True
        else:
            self._state = _State.THOUGHT if self._interrupts_thought else _State.TEXT
        self._has_called = False

    def _watched(self) -> tuple[str, ...]:
        markers = self._markers[self._state]
        if self._is_content_open and self._state is not _State.THOUGHT:
            return (self._content_close, *markers)
        return markers

    def _hold(self, blanks: str) -> None:
        if blanks and not self._drops_blanks:
            self._pending.append(blanks)

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._has_ended = False
        self._num_prefilled = 0

    def _pass_on(self, text: str) -> None:
        """`text`, behind what was pending, goes to the caller."""
        if self._pending:
            text = "".join((*self._pending, text))
            self._pending.clear()
            self._has_ended = False
        if self._num_prefilled:
            num_cut = min(self._num_prefilled, len(text))
            self._num_prefilled -= num_cut
            text = text[num_cut:]
        if not text:
            return
        self._drops_blanks = False
        is_thought = self._state is _State.THOUGHT or (
            self._state is _State.CALLS and self._interrupts_thought and not self._has_called
        )
        is_split = is_thought and self._splits_thoughts
        self._pieces.append(Thought(text) if is_split else Text(text))


def _control_token(marker: str) -> tuple[str, ...]:
    return (marker,) if "|" in marker or "\uff5c" in marker else ()


@lru_cache(maxsize=512)
def _stops(markers: tuple[str, ...]) -> re.Pattern[str]:
    """Finds where text may not be passed on as it is: a marker may begin, or blanks may be
    followed by one.
    """
    firsts = "".join(sorted({marker[0] for marker in markers if marker}))
    return re.compile(rf"[{re.escape(firsts)}]|\s\Z" if firsts else r"\s\Z")
