"""Where calls stand in what a template writes, and what it writes around them."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.chat.calls.section import Section, chunks
from llmd.chat.format.literal_cuts import common_prefix, common_suffix
from llmd.chat.format.sentinels import KEYS


@dataclass(frozen=True, slots=True)
class CallSpans:
    """The text of a message of calls and where each call stands in it."""

    text: str
    calls: tuple[tuple[int, int], ...]

    @property
    def before(self) -> str:
        return self.text[: self.calls[0][0]]

    @property
    def between(self) -> str | None:
        if len(self.calls) < 2:
            return None
        return self.text[self.calls[0][1] : self.calls[1][0]]

    @property
    def behind(self) -> str:
        return self.text[self.calls[-1][1] :]

    @property
    def first(self) -> str:
        return self.text[slice(*self.calls[0])]


def section_around(
    spans: CallSpans, leads: tuple[str, ...], ends: tuple[str, ...]
) -> tuple[Section, tuple[str, ...]]:
    """What stands around the calls, and the text behind them that ends the turn, if any. What
    calls have in common in front and behind is theirs, the rest is the section's.
    """
    before, behind = spans.before, spans.behind
    for lead in leads:
        start = len(before) - len(before.lstrip())
        if lead and before.startswith(lead, 0 if lead[0].isspace() else start):
            before = before[before.index(lead) + len(lead) :]
    cuts = [behind.find(end) for end in ends if end and end in behind]
    behind = behind[: min(cuts, default=len(behind))]
    between = spans.between
    if between is None:
        return Section(before, behind.rstrip()), ()
    between = without_keys(between)
    behind = without_keys(behind)
    call_open = common_suffix(before, between)
    between = between[: len(between) - len(call_open)]
    call_close = common_prefix(between, behind)
    opener = before[: len(before) - len(call_open)]
    if opener.strip():
        close = behind[len(call_close) :].rstrip()
        return Section(call_open, call_close, opener, between[len(call_close) :], close), ()
    call_close = call_close.rstrip()
    section = Section(call_open, call_close, separator=between[len(call_close) :])
    return section, chunks(behind[len(call_close) :].strip())[:1]


def without_keys(literal: str) -> str:
    """`literal` with `{key}` in the place of keys."""
    for key in KEYS:
        literal = literal.replace(key, "{key}")
    return literal
