"""Token bytes to text."""

from __future__ import annotations

import codecs


class Detokenizer:
    """Incremental UTF-8: a character split over tokens comes out once, when it is complete. Bytes
    that can never become UTF-8 come out as U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left of an unfinished character: U+FFFD or nothing."""
        return self._decoder.decode(b"", final=True)
