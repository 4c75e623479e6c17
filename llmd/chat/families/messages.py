"""Answers of several messages, each with a recipient or a channel in its header.

<|channel|>analysis<|message|>A thought<|end|><|start|>assistant<|channel|>final<|message|>Text
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

from llmd.chat.answer.piece import Piece, Text, Thought
from llmd.chat.answer.scan import Steps, ignore
from llmd.chat.calls.base import CallReader, ToolSchemas
from llmd.chat.calls.scripted import ScriptedReader


class Kind(Enum):
    """What a message is."""

    TEXT = auto()
    THOUGHT = auto()
    JSON_CALL = auto()
    """Its body is the arguments of a call of the function `name`."""
    CALLS = auto()
    """Its body holds calls."""
    HIDDEN = auto()
    """For somebody whom we do not have: neither text nor call."""


@dataclass(frozen=True, slots=True)
class Header:
    kind: Kind
    name: str = ""
    is_text: bool = False
    """The header itself is text too: a call that nobody can have asked for."""


@dataclass(frozen=True, slots=True)
class Framing:
    """`start` begins a message, `body` ends its header, any of `ends` its body."""

    start: str
    body: str
    ends: tuple[str, ...]
    header_starts: tuple[str, ...]
    """A header begins with one of these; an answer that begins otherwise is text."""

    def prompt_tail(self, prompt: str) -> str:
        """What stands in `prompt` behind the first `start` of those at its end that no other
        message interrupts.
        """
        role = self.start.rpartition("|>")[2]
        marker = self.start.removesuffix(role)
        tail = len(prompt)
        position = prompt.rfind(marker)
        while position >= 0 and prompt.startswith(self.start, position):
            tail = position + len(self.start)
            position = prompt.rfind(marker, 0, position)
        return prompt[tail:]


class MessagesSyntax:
    """What families framed like this have in common. See AnswerSyntax."""

    framing: ClassVar[Framing]
    reader_type: ClassVar[type[MessagesReader]]
    ends: tuple[str, ...] = ()

    @property
    def header(self) -> str:
        return self.framing.start

    def prompt_tail(self, prompt: str) -> str:
        return self.framing.prompt_tail(prompt)

    def reader(
        self,
        prompt_tail: str,
        tools: ToolSchemas,
        *,
        splits_thoughts: bool,
        keeps_prefill: bool = False,
    ) -> MessagesReader:
        return self.reader_type(
            self.framing,
            prompt_tail,
            tools,
            splits_thoughts=splits_thoughts,
            keeps_prefill=keeps_prefill,
        )


class MessagesReader(ScriptedReader, ABC):
    """Reads one answer, from behind the first `start` on."""

    def __init__(
        self,
        framing: Framing,
        prompt_tail: str,
        tools: ToolSchemas,
        *,
        splits_thoughts: bool,
        keeps_prefill: bool,
    ) -> None:
        self.tools = tools
        self.in_thought = False
        self._framing = framing
        self._splits_thoughts = splits_thoughts
        self._last_kind: Kind | None = None
        self._thought_head = ""
        super().__init__("")
        self._prefill = super().feed(prompt_tail)
        if not keeps_prefill:
            opened = self._prefill[-1:]
            is_opener = self.in_thought and not splits_thoughts
            is_opener = is_opener and opened == [Text(self._thought_head)]
            # Where thoughts are text, their opener in the prompt is a part of it.
            self._prefill = opened if is_opener else []

    @abstractmethod
    def classify(self, header: str) -> Header:
        """What the message with this header is; all blanks and markers of it are there."""

    def calls_reader(self) -> tuple[str, CallReader] | None:
        """The opener of calls in a body of the kind CALLS, and their reader."""
        return None

    def feed(self, text: str) -> list[Piece]:
        prefill, self._prefill = self._prefill, []
        return prefill + super().feed(text)

    def flush(self, *, is_cut: bool = False) -> list[Piece]:
        prefill, self._prefill = self._prefill, []
        return prefill + super().flush(is_cut=is_cut)

    def read(self) -> Steps[None]:
        framing = self._framing
        # Something may be in front of the header, and the answer may begin with `start` again.
        yield from self.scan.behind_blanks(framing.start)
        while True:
            self.begin()
            yield from self.scan.some()
            yield from self._read_message()
            self.begin()
            start = yield from self.scan.behind_blanks(framing.start)
            if start is None:
                yield from self.scan.some()
                self.give_up()
                yield from self._read_body(Header(Kind.TEXT), "")

    def _read_message(self) -> Steps[None]:
        framing = self._framing
        parts: list[str] = []
        first = yield from self.scan.behind_blanks(*framing.header_starts, framing.body)
        if first is None:
            self.give_up()
            yield from self._read_body(Header(Kind.TEXT), "")
            return
        mark = first
        if first != framing.body:
            mark = yield from self.scan.until(parts.append, framing.body, *framing.ends)
        if mark != framing.body:
            self.give_up()
            return
        header = (first if first != framing.body else "") + "".join(parts)
        found = self.classify(header)
        if found.kind is Kind.JSON_CALL:
            self.call(found.name)
        elif found.is_text:
            self.give_up()
        else:
            self.drop()
        yield from self._read_body(found, header.lstrip() + framing.body)

    def _read_body(self, header: Header, head: str) -> Steps[None]:
        ends = self._framing.ends
        kind = header.kind
        if kind is Kind.HIDDEN:
            yield from self.scan.until(ignore, *ends)
        elif kind is Kind.TEXT:
            self._separate(kind)
            yield from self.scan.until(self.give_text, *ends)
        elif kind is Kind.THOUGHT:
            yield from self._read_thought(head)
        elif kind is Kind.JSON_CALL:
            yield from self.json_arguments()
            end = yield from self.scan.behind_blanks(*ends)
            if end is None:
                yield from self.scan.some()
                yield from self.scan.until(self.give_text, *ends)
        else:
            yield from self._read_calls()

    def _read_thought(self, head: str) -> Steps[None]:
        self.in_thought = True
        self._thought_head = head
        if self._splits_thoughts:
            self._separate(Kind.THOUGHT)
            yield from self.scan.until(self._give_thought, *self._framing.ends)
        else:
            self.give_text(head)
            end = yield from self.scan.until(self.give_text, *self._framing.ends)
            self.give_text(end)
        self.in_thought = False

    def _read_calls(self) -> Steps[None]:
        found = self.calls_reader()
        assert found is not None
        opener, reader = found
        mark = yield from self.scan.until(self.give_text, opener, *self._framing.ends)
        if mark != opener:
            return
        yield from self.through(reader)
        end = yield from self.scan.behind_blanks(*self._framing.ends)
        if end is None:
            yield from self.scan.until(self.give_text, *self._framing.ends)

    def _separate(self, kind: Kind) -> None:
        """Two messages of one kind are two paragraphs."""
        if self._last_kind is kind:
            self.give([Text("\n\n") if kind is Kind.TEXT else Thought("\n\n")])
        self._last_kind = kind

    def _give_thought(self, text: str) -> None:
        self.give([Thought(text)])


def last_match(pattern: re.Pattern[str], text: str) -> str | None:
    """The first group of the last match of `pattern` in `text`."""
    found = pattern.findall(text)
    return found[-1] if found else None
