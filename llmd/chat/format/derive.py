"""The syntax of a template's answers, derived from what it writes for known ones."""

from __future__ import annotations

from dataclasses import replace

from llmd.chat.answer.syntax import MessageSyntax, ThoughtSyntax
from llmd.chat.calls.section import chunks
from llmd.chat.families.family import Family
from llmd.chat.format.derive_calls import ONE_CALL, CallDerivation
from llmd.chat.format.literal_cuts import (
    common_prefix,
    common_suffix,
    counterpart,
    thought_closer,
    thought_tags,
)
from llmd.chat.format.sentinels import (
    ANSWER,
    IDS,
    KEYS,
    NAMES,
    RESULT,
    THOUGHT,
    CallForm,
    Sentinels,
)
from llmd.chat.prompt.template import ChatTemplate

_LONGEST_OPENER = 64
_MOST_CHUNKS = 4
_THINKING_ON = {"enable_thinking": True, "thinking": True, "thinking_mode": "enabled"}
_THINKING_OFF = {"enable_thinking": False, "thinking": False, "thinking_mode": "disabled"}


def derive_syntax(
    template: ChatTemplate,
    family: Family,
    form: CallForm | None,
    *,
    end_texts: tuple[str, ...] = (),
) -> MessageSyntax:
    """The syntax of `template`: some fifteen small renders. What cannot be told is left out: a
    template that fails on all probes has no header, no thought and no calls. What `family` knows
    is taken as it is. `form` is None where the template writes no calls. `end_texts` are what the
    model ends its turns with besides.
    """
    return _Derivation(template, family, form, end_texts).derive()


class _Derivation:
    def __init__(
        self,
        template: ChatTemplate,
        family: Family,
        form: CallForm | None,
        end_texts: tuple[str, ...],
    ) -> None:
        self._source = template.source
        self._family = family
        self._end_texts = end_texts
        sentinels = Sentinels(template, _mentioned(_THINKING_ON, template.source))
        self._sentinels = sentinels
        self._form = form or CallForm()
        self._calls = CallDerivation(sentinels, self._form, self._source) if form else None
        self._prompt = sentinels.prompt()
        off = _mentioned(_THINKING_OFF, template.source)
        self._quiet_prompt = sentinels.prompt(off) if off else None
        self._answer = sentinels.answer()
        self._header = self._find_header()

    def derive(self) -> MessageSyntax:
        family = self._family
        lead, found, tail = self._behind_header(self._answer).partition(ANSWER)
        if not found:
            lead = tail = ""
        thought = family.thought or self._find_thought(lead)
        if self._take_opener_off_header(thought):
            return self.derive()
        thought, further_header = self._without_header(thought)
        content = family.content or self._find_content(lead, tail, thought)
        behind = tail.lstrip().removeprefix(content[1]).strip()
        ends = (*(family.ends or _end_chunk(behind)), *self._end_texts)
        calls, noise = family.calls, (*family.noise, *filter(None, (further_header,)))
        if calls is None and self._calls is not None:
            thought_markers = (thought.open, thought.close) if thought else ()
            leads = (self._header, *thought_markers, *content)
            derived = self._calls.derive(leads, ends, content[1])
            if derived is not None:
                calls = derived.syntax
                ends += derived.ends
                noise += derived.joints
        return MessageSyntax(
            header=self._header,
            thought=thought,
            content=content,
            calls=calls,
            ends=tuple(dict.fromkeys(ends)),
            noise=noise,
            other_headers=self._other_headers(),
        )

    def _find_header(self) -> str:
        texts = [self._prompt, self._answer, self._calls.one if self._calls else None]
        known = [text for text in texts if text]
        if not known:
            return ""
        header = known[0]
        for text in known[1:]:
            header = common_prefix(header, text)
        for word in (ANSWER, THOUGHT, *NAMES):
            header = header.partition(word)[0]
        if self._prompt and self._answer and len(self._prompt) > len(header) + _LONGEST_OPENER:
            # Something else stands between the user's turn and the answer, in prompts only.
            header = common_suffix(self._prompt, self._answer.partition(ANSWER)[0]) or header
        return header

    def _take_opener_off_header(self, thought: ThoughtSyntax | None) -> bool:
        """Every answer seems to begin with a thought, which is no part of the header then."""
        opener = thought.open if thought else (chunks(self._header) or ("",))[-1]
        if not opener or not self._header.rstrip().endswith(opener):
            return False
        if thought is None and thought_closer(opener, self._source) is None:
            return False
        self._header = self._header[: self._header.rindex(opener)]
        return True

    def _behind_header(self, text: str | None) -> str:
        if text is None or self._header not in text:
            return ""
        return text[text.index(self._header) + len(self._header) :]

    def _find_thought(self, lead: str) -> ThoughtSyntax | None:
        """`lead` stands in front of an answer without a thought."""
        return (
            self._written_thought(self._sentinels.answer(thought=THOUGHT), ANSWER, lead)
            or self._thought_beside_calls(lead)
            or self._thought_of_prompts(lead)
            or self._mentioned_thought()
        )

    def _written_thought(self, text: str | None, follower: str, lead: str) -> ThoughtSyntax | None:
        """The thought in `text`, which goes on with `follower`."""
        before, found, behind = self._behind_header(text).partition(THOUGHT)
        if not found or follower not in behind:
            return None
        behind = behind.partition(follower)[0]
        opener = before.strip()
        if not _may_be_marker(opener) or not behind.strip():
            return None
        close = counterpart(opener, behind)
        if close is None or not behind.strip().startswith(close):
            close = behind.strip()
            shared = common_suffix(behind, lead).strip()
            if shared != close:
                close = close.removesuffix(shared).strip()
        start = behind.index(close) if close in behind else 0
        written = behind[: start + len(close)] + _blanks_behind(behind, start + len(close))
        return ThoughtSyntax(opener, close, before.lstrip(), written)

    def _thought_beside_calls(self, lead: str) -> ThoughtSyntax | None:
        if self._calls is None or not self._calls.one:
            return None
        text = self._sentinels.calls(self._form, ONE_CALL, thought=THOUGHT)
        if text is None or THOUGHT not in text:
            return None
        before, _, behind = self._behind_header(text).partition(THOUGHT)
        plain = self._behind_header(self._calls.one)
        behind = behind.partition(NAMES[0])[0]
        plain = plain.partition(NAMES[0])[0]
        opener = before.strip()
        close = counterpart(opener, behind)
        if close is None or not behind.strip().startswith(close):
            shared = common_suffix(behind, plain).strip()
            close = behind.strip().removesuffix(shared).strip()
            first = (chunks(behind) or ("",))[0]
            if not close and lead.lstrip().startswith(first):
                # Answers without a thought begin with its closer.
                close = first
        if not _may_be_marker(opener) or not close:
            return None
        return ThoughtSyntax(opener, close, before.lstrip(), close)

    def _thought_of_prompts(self, lead: str) -> ThoughtSyntax | None:
        """A thought that the template opens, or opens and closes, but never writes out."""
        opened = self._behind_header(self._prompt)
        shut = self._behind_header(self._quiet_prompt)
        opener = opened.strip()
        if not opener:
            both = chunks(shut)
            if len(both) != 2 or counterpart(both[0], both[1]) != both[1]:
                return None
            return ThoughtSyntax(both[0], both[1])
        for text in (shut, lead):
            written = text.lstrip().removeprefix(opener).lstrip()
            if len(chunks(written)) == 1 and written.strip() != opener:
                return ThoughtSyntax(opener, written.strip(), opened.lstrip(), written)
        guess = counterpart(opener, self._source) or thought_closer(opener, self._source)
        return ThoughtSyntax(opener, guess, opened.lstrip()) if guess else None

    def _without_header(self, thought: ThoughtSyntax | None) -> tuple[ThoughtSyntax | None, str]:
        """`thought` with the first part of its closer alone, where a prompt without thinking shows
        that this is the closer, and what else the template writes there: the header of a further
        message.
        """
        shut = self._behind_header(self._quiet_prompt).strip()
        if thought is None or not shut.startswith(thought.open):
            return thought, ""
        close = shut.removeprefix(thought.open).strip()
        if not close or close == thought.close or not thought.close.startswith(close):
            return thought, ""
        return replace(thought, close=close), thought.close.removeprefix(close).strip()

    def _mentioned_thought(self) -> ThoughtSyntax | None:
        tags = thought_tags(self._source)
        if tags is None or tags[0] in self._header:
            return None
        return ThoughtSyntax(*tags)

    def _find_content(self, lead: str, tail: str, thought: ThoughtSyntax | None) -> tuple[str, str]:
        opener = lead.strip()
        for marker in (thought.open, thought.close) if thought else ():
            opener = opener.removeprefix(marker).strip()
        if not opener:
            return "", ""
        close = (chunks(tail) or ("",))[0]
        behind_calls = self._calls.one.rpartition(KEYS[0])[2] if self._calls else ""
        if counterpart(opener, close) != close and close in behind_calls:
            # It ends the turn, also behind calls.
            close = ""
        return opener, close

    def _other_headers(self) -> tuple[str, ...]:
        """What stands between a tool's result and the answer, where that is not `header`."""
        behind = self._sentinels.prompt_behind_result(self._form) if self._calls else None
        if behind is None or self._header in behind:
            return ()
        for word in (*IDS, *NAMES, RESULT):
            behind = behind.rpartition(word)[2]
        thought = self._behind_header(self._prompt).strip()
        if thought:
            behind = behind.partition(thought)[0]
        return (behind,) if behind.strip() else ()


def _mentioned(kwargs: dict[str, object], source: str) -> dict[str, object]:
    return {name: value for name, value in kwargs.items() if name in source}


def _may_be_marker(literal: str) -> bool:
    """Whether a literal that stands in front of a thought can be its opener."""
    return 0 < len(literal) <= _LONGEST_OPENER and len(chunks(literal)) <= _MOST_CHUNKS


def _end_chunk(behind: str) -> tuple[str, ...]:
    """The marker that ends a turn; words of a next turn are none."""
    first = chunks(behind)[:1]
    return first if first and not first[0][0].isalnum() else ()


def _blanks_behind(text: str, position: int) -> str:
    rest = text[position:]
    return rest[: len(rest) - len(rest.lstrip())]
