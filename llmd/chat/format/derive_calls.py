"""How a template writes calls, read off renders of sentinels: the words are taken out and what is
left are the literals.

Three shapes: the name and the arguments within one JSON object; the arguments alone as JSON; each
argument between literals of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmd.chat.calls.base import CallSyntax
from llmd.chat.calls.section import Section, chunks
from llmd.chat.calls.tagged import CDATA
from llmd.chat.format.call_spans import section_around
from llmd.chat.format.derive_json import json_objects, named_json, named_spans, object_spans
from llmd.chat.format.derive_tagged import pythonic, pythonic_spans, tagged, tagged_spans
from llmd.chat.format.sentinels import (
    ANSWER,
    KEYS,
    NUMBER,
    VALUES,
    Call,
    CallForm,
    Sentinels,
    is_literal,
)

ONE_CALL = (Call(0, {KEYS[0]: VALUES[0]}),)
_TWO = (*ONE_CALL, Call(1, {KEYS[1]: VALUES[1]}))
_LONG = (Call(0, {KEYS[0]: VALUES[0], KEYS[1]: VALUES[1]}),)
_NUMERIC = (Call(0, {KEYS[0]: NUMBER}),)


@dataclass(frozen=True, slots=True)
class DerivedCalls:
    """`ends` end a turn with calls. `joints` stand between a text and calls, or between calls,
    where these are messages of their own.
    """

    syntax: CallSyntax
    ends: tuple[str, ...]
    joints: tuple[str, ...]


class CallDerivation:
    """Derives the call syntax of one template, which writes calls in `form`."""

    def __init__(self, sentinels: Sentinels, form: CallForm, source: str) -> None:
        self._sentinels = sentinels
        self._form = form
        self._source = source
        self.one = sentinels.calls(form, ONE_CALL) or ""
        self.two = sentinels.calls(form, _TWO)

    def derive(
        self, leads: tuple[str, ...], ends: tuple[str, ...], content_close: str
    ) -> DerivedCalls | None:
        """None where calls have no marker in front or no shape that is known. `leads` may stand
        in front of the calls, `ends` behind them.
        """
        text = self.two or self.one
        for find in (object_spans, named_spans, pythonic_spans, tagged_spans):
            spans = find(text)
            if spans is not None:
                break
        else:
            return None
        section, call_ends = section_around(spans, leads, ends)
        if not chunks(section.open + section.call_open)[:1]:
            return None
        first = chunks(section.open + section.call_open)[0]
        if first in ("[", "{", "[{") or not any(map(str.isalnum, first)):
            return None
        syntax: CallSyntax | None
        if find is object_spans:
            syntax = json_objects(section, spans.first)
        elif find is named_spans:
            syntax = named_json(section, spans.first)
        elif find is pythonic_spans:
            syntax = pythonic(section)
        else:
            syntax = self._tagged(section)
        if syntax is None:
            return None
        further = "" if section.open else section.separator
        joints: tuple[str, ...] = (self._joint(section, content_close), further)
        joints = tuple(filter(is_literal, map(str.strip, joints)))
        return DerivedCalls(syntax, tuple(filter(is_literal, call_ends)), joints)

    def _joint(self, section: Section, content_close: str) -> str:
        text = self._sentinels.calls(self._form, ONE_CALL, content=ANSWER) or ""
        between = text.partition(ANSWER)[2]
        opener = chunks(section.open + section.call_open)[0]
        if opener not in between:
            return ""
        return between.partition(opener)[0].strip().removeprefix(content_close).strip()

    def _tagged(self, section: Section) -> CallSyntax | None:
        long = self._sentinels.calls(self._form, _LONG)
        numeric = self._sentinels.calls(self._form, _NUMERIC)
        if long is None:
            return None
        return tagged(section, long, numeric, has_cdata=CDATA[0] in self._source)
