"""Where the parts of a prompt lie among its tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from llmd.chat.prompt.layout import LayoutFinder, RenderedConversation, num_common
from llmd.engine.request import PromptLayout


class PromptTokenizer(Protocol):
    """What is asked of the model's tokenizer."""

    @property
    def control_texts(self) -> frozenset[str]: ...
    @property
    def marker_texts(self) -> frozenset[str]: ...
    def encode_pieces(self, pieces: Sequence[str], /) -> list[int]: ...
    def token_bytes(self, token_id: int, /) -> bytes: ...


def locate(
    finder: LayoutFinder,
    tokenizer: PromptTokenizer,
    conversation: RenderedConversation,
    pieces: Sequence[str],
    token_ids: Sequence[int],
    *,
    with_tools: bool,
) -> PromptLayout:
    """The layout of a prompt that was rendered as `pieces` and encoded as `token_ids`.

    What another prompt shares up to one of `message_ends`, it shares token by token. `tools` is
    looked for only `with_tools`, as it costs a rendering.
    """
    found = finder.find(conversation, with_tools=with_tools)
    positions = TokenPositions(tokenizer, pieces, token_ids)
    ends = {positions.lasting(end) for end in found.message_ends}
    tools = None
    if found.tools is not None:
        start, end = found.tools
        tools = positions.before(start), positions.before(end - 1) + 1
    return PromptLayout(message_ends=tuple(sorted(ends - {0})), tools=tools)


class TokenPositions:
    """From characters of a rendered prompt to its tokens."""

    def __init__(
        self, tokenizer: PromptTokenizer, pieces: Sequence[str], token_ids: Sequence[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._pieces = pieces
        self._token_ids = token_ids
        self._text = "".join(pieces)
        spelled = [tokenizer.token_bytes(token_id) for token_id in token_ids]
        self._ends = list(accumulate(map(len, spelled)))
        # Before the text stands a BOS that the template did not write, or SentencePiece's space.
        self._start = b"".join(spelled).find(_encoded(self._text))

    def before(self, end: int) -> int:
        """Number of tokens that lie wholly before character `end`."""
        if self._start >= 0:
            return bisect_right(self._ends, self._start + len(_encoded(self._text[:end])))
        # A vocabulary whose tokens do not spell the text: it adds spaces, or drops some.
        return num_common(self._token_ids, self._tokenizer.encode_pieces([*self._head(end)]))

    def lasting(self, end: int) -> int:
        """Number of tokens before character `end` that stay the same whatever follows it.

        A special token on either side keeps apart what text could join: `]` and `Hi` make `]H`,
        in vocabularies that have it. Without one, the last token does not count.
        """
        position = self.before(end)
        around = self._token_ids[max(position - 1, 0) : position + 1]
        return position if any(map(self._is_special, around)) else max(position - 1, 0)

    def _is_special(self, token_id: int) -> bool:
        text = self._tokenizer.token_bytes(token_id).decode("utf-8", "replace")
        return text in self._tokenizer.control_texts or text in self._tokenizer.marker_texts

    def _head(self, end: int) -> Iterator[str]:
        for piece in self._pieces:
            if end <= 0:
                return
            yield piece[:end]
            end -= len(piece)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
