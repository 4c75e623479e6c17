"""A sequence's text on its way out."""

from __future__ import annotations

from collections import deque

from llmd.core.output import TokenLogprob
from llmd.engine.detokenizer import Detokenizer
from llmd.engine.stop import StopMatcher


class TextStream:
    """Token bytes in, text that may be shown out; logprobs come out with the text of their token.
    Engine thread only.
    """

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._detokenizer = Detokenizer()
        self._matcher = StopMatcher(stop)
        self._num_decoded = 0
        self._num_shown = 0
        # Each with the number of characters decoded before its token.
        self._logprobs: deque[tuple[int, TokenLogprob]] = deque()
        self._end: TokenLogprob | None = None

    @property
    def stop_text(self) -> str | None:
        """The stop string that ended the text."""
        return self._matcher.matched

    def feed(self, data: bytes, logprob: TokenLogprob | None = None) -> str:
        """The text that a token lets out: none, its own, or earlier text that was held back."""
        if logprob is not None:
            self._logprobs.append((self._num_decoded, logprob))
        text = self._detokenizer.feed(data)
        self._num_decoded += len(text)
        return self._show(self._matcher.feed(text))

    def end(self, logprob: TokenLogprob) -> None:
        """The text ends with a token that has no text; its logprob comes out last, once all text
        was shown.
        """
        self._end = logprob

    def flush(self) -> str:
        """The text that was still held back at the end."""
        if self._matcher.matched is not None:
            return ""
        text = self._detokenizer.flush()
        self._num_decoded += len(text)
        return self._show(self._matcher.feed(text) + self._matcher.flush())

    def take_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Logprobs of the tokens whose text was shown since the last call."""
        taken = []
        while self._logprobs and self._logprobs[0][0] < self._num_shown:
            taken.append(self._logprobs.popleft()[1])
        if self._end is not None and self._num_shown == self._num_decoded:
            taken.append(self._end)
            self._end = None
        return tuple(taken)

    def _show(self, text: str) -> str:
        self._num_shown += len(text)
        return text
