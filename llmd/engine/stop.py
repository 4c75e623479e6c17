"""Stop strings."""

from __future__ import annotations


class StopMatcher:
    """Passes text on up to the first stop string, and holds back what may still become one.

    Of several, the one that is complete first wins, so the result does not depend on how the text
    is cut into pieces.
    """

    def __init__(self, stop: tuple[str, ...]) -> None:
        """`stop` holds non-empty strings."""
        self._stop = stop
        self._longest = max(map(len, stop), default=0)
        self._held = ""
        self.matched: str | None = None
        """The stop string that was found; nothing passes after it."""

    def feed(self, text: str) -> str:
        if not self._stop:
            return text
        if self.matched is not None:
            return ""
        text = self._held + text
        found = self._find(text)
        if found is not None:
            start, self.matched = found
            self._held = ""
            return text[:start]
        num_held = self._num_held(text)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]

    def flush(self) -> str:
        """The text is over: what was held back is no stop string."""
        held, self._held = self._held, ""
        return held

    def _find(self, text: str) -> tuple[int, str] | None:
        matches = [(text.find(stop), stop) for stop in self._stop]
        ends = [(start + len(stop), start, stop) for start, stop in matches if start >= 0]
        if not ends:
            return None
        _, start, stop = min(ends)
        return start, stop

    def _num_held(self, text: str) -> int:
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stop if len(stop) > length):
                return length
        return 0
