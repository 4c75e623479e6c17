"""Where the parts of a rendered conversation end.

A template says nothing of its parts, so they are found by comparing its prompt with others that it
writes: for another user's text after the same system messages, for the conversation up to a message
without the words that open an answer, for the turn that may come next, for no tools. What two
prompts begin with alike is what such prompts share, whatever the template does to get there. A
template that refuses one of these conversations only has one boundary less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Generic, TypeVar

from llmd.chat.prompt.normalizer import MessageNormalizer
from llmd.chat.prompt.role_repairs import is_system
from llmd.chat.prompt.template import ChatTemplate
from llmd.core.message import Message, Tool
from llmd.errors import InvalidRequest

NUM_ENDS_KEPT = 256
NUM_OPENINGS_KEPT = 32
MAX_OPENING = 1000
"""Characters that a template may open an answer with; what is longer holds a client's own text."""
NUM_CLOSING = 4
"""Characters of a message's end that tell one template's form of it from another."""

OTHER_TEXT = "\ufdd0 zqother"
"""What somebody else may say: it begins as no real text does."""

_Messages = tuple[Message, ...]
_Items = TypeVar("_Items", str, Sequence[int])
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedConversation:
    """A prompt's `text` and what it was rendered from: the messages as they were `sent`, and as
    they were `fitted` to the template. With `continues_answer` it ends inside the last of them.
    """

    text: str
    sent: Sequence[Message]
    fitted: Sequence[Message]
    tools: Sequence[Tool]
    template_kwargs: Mapping[str, Any]
    continues_answer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLayout:
    """Boundaries as characters of a prompt's text.

    `message_ends`, ascending, are the end of what other conversations share (the system prompt and
    the tools, mostly), of the last user's turn, and of the last message before the words that open
    the answer; those that are known, above 0 and differ. `tools` is the span that a prompt without
    tools does not have.
    """

    message_ends: tuple[int, ...]
    tools: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Opening:
    """The words that open an answer, by their length. Where there are none, what is `seen` at the
    end of such a prompt is the end of the last message.
    """

    seen: str
    length: int

    @classmethod
    def of(cls, text: str, end: int) -> _Opening:
        return cls(text[end:] or text[-NUM_CLOSING:], len(text) - end)


class LayoutFinder:
    """Finds the layouts of one template's prompts. Any thread may use it.

    What it finds it remembers, as positions and hashes: of a conversation under way, each prompt
    longer than the one before, it renders nothing unless the template is an unusual one.
    """

    def __init__(self, template: ChatTemplate, normalizer: MessageNormalizer) -> None:
        self._template = template
        self._normalizer = normalizer
        self._ends = _RecentlyUsed[tuple[int, int]](NUM_ENDS_KEPT)
        self._openings = _RecentlyUsed[_Opening](NUM_OPENINGS_KEPT)

    def find(self, prompt: RenderedConversation, *, with_tools: bool = False) -> TextLayout:
        """Renders up to four times for a template's first prompts, as a rule not at all or once;
        one time more for the tools' span. What the template refuses is left out, never raised.
        """
        # What opens an answer includes the beginning of it that is to be continued.
        asked = tuple(prompt.fitted[:-1] if prompt.continues_answer else prompt.fitted)
        ends = {self._system_end(prompt)}
        if asked:
            ends |= {self._user_end(prompt, asked), self._last_end(prompt, asked)}
        return TextLayout(
            message_ends=tuple(sorted(ends - {0})),
            tools=self._tools_span(prompt) if with_tools and prompt.tools else None,
        )

    def _system_end(self, prompt: RenderedConversation) -> int:
        systems = tuple(takewhile(is_system, prompt.sent))

        def shared() -> str:
            other = (*systems, Message(role="user", content=OTHER_TEXT))
            fitted = self._normalizer.normalize(other, prompt.tools).messages
            return self._text(prompt, fitted, opens_answer=True).partition(OTHER_TEXT)[0]

        return self._end(prompt, ("system", systems), shared)

    def _user_end(self, prompt: RenderedConversation, asked: _Messages) -> int:
        roles = [message.role for message in asked]
        if "user" not in roles or roles[-1] == "user":
            return 0
        turn = asked[: len(roles) - roles[::-1].index("user")]
        return self._end(prompt, ("turn", turn), lambda: self._text(prompt, turn))

    def _last_end(self, prompt: RenderedConversation, asked: _Messages) -> int:
        turn = ("turn", asked)
        if prompt.continues_answer:
            return self._end(prompt, turn, lambda: self._text(prompt, asked))
        key = hash((asked[-1].role, bool(prompt.tools), repr(prompt.template_kwargs)))
        opening = self._openings.get(key)
        if opening is not None and prompt.text.endswith(opening.seen):
            end = len(prompt.text) - opening.length
        else:
            end = num_common(prompt.text, self._text(prompt, asked))
            if end == 0:
                return 0
            end = self._num_lasting(prompt, asked, end)
            if len(prompt.text) - end <= MAX_OPENING:
                self._openings.put(key, _Opening.of(prompt.text, end))
        if asked[-1].role == "user":
            # While tools are called, this is where the last user's turn ends.
            self._ends.put(_key(prompt, turn), _mark(prompt.text, end))
        return end

    def _num_lasting(self, prompt: RenderedConversation, asked: _Messages, end: int) -> int:
        """How much of the text before `end` the next turn keeps: some templates write the tools
        before the last user message only, or close a message in another way once more follow.
        """
        answer = Message(role="assistant", content=OTHER_TEXT)
        if asked[-1].role == "user":
            following = [answer, Message(role="user", content=OTHER_TEXT)]
        else:
            # Another call, not an answer: after that a template may drop the thoughts before.
            following = [m for m in asked if m.tool_calls][-1:] or [answer]
        text = self._text(prompt, (*asked, *following))
        return min(end, num_common(prompt.text, text)) if text else end

    def _tools_span(self, prompt: RenderedConversation) -> tuple[int, int] | None:
        bare = self._text(
            replace(prompt, tools=()),
            prompt.fitted,
            opens_answer=True,
            continues_answer=prompt.continues_answer,
        )
        start = num_common(prompt.text, bare)
        num_after = num_common(prompt.text[start:][::-1], bare[start:][::-1])
        end = len(prompt.text) - num_after
        return (start, end) if bare and start < end else None

    def _end(
        self, prompt: RenderedConversation, what: tuple[str, _Messages], render: Callable[[], str]
    ) -> int:
        """How much of the prompt's text begins as what `render` gives; remembered as `what`."""
        key = _key(prompt, what)
        known = self._ends.get(key)
        if known is not None and known == _mark(prompt.text, known[0]):
            return known[0]
        other = render()
        end = num_common(prompt.text, other)
        if end == len(other):
            self._ends.put(key, _mark(prompt.text, end))
        return end

    def _text(
        self,
        prompt: RenderedConversation,
        messages: Sequence[Message],
        *,
        opens_answer: bool = False,
        continues_answer: bool = False,
    ) -> str:
        """Other messages under the prompt's circumstances; empty where the template refuses."""
        try:
            return self._template.render(
                messages, prompt.tools, prompt.template_kwargs, opens_answer, continues_answer
            ).text
        except InvalidRequest:
            return ""


def num_common(first: _Items, second: _Items) -> int:
    """How many items two texts, or two lists of tokens, begin with alike."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _key(prompt: RenderedConversation, what: tuple[str, _Messages]) -> int:
    # By repr, since the arguments of calls and the tools are dicts, which have no hash.
    return hash((repr(what), repr(prompt.tools), repr(prompt.template_kwargs)))


def _mark(text: str, end: int) -> tuple[int, int]:
    return end, hash(text[:end])


class _RecentlyUsed(Generic[_Value]):
    """The `capacity` values that were used last. Needs no lock: each step leaves the dict whole,
    and what another thread takes out meanwhile is only found again.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: dict[int, _Value] = {}

    def get(self, key: int) -> _Value | None:
        value = self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
        return value

    def put(self, key: int, value: _Value) -> None:
        self._values.pop(key, None)
        self._values[key] = value
        for oldest in list(self._values)[: -self._capacity]:
            self._values.pop(oldest, None)
