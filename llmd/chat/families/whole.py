"""The reader of a whole answer, around one that reads from the prompt's tail on."""

from __future__ import annotations

from llmd.chat.answer.piece import Piece
from llmd.chat.calls.scripted import ScriptedReader


class WholeReader:
    """Feeds the prompt's tail first. See AnswerReader."""

    in_thought = False

    def __init__(self, parts: ScriptedReader, prompt_tail: str, *, keeps_prefill: bool) -> None:
        self._parts = parts
        prefill = parts.feed(prompt_tail)
        self._prefill = prefill if keeps_prefill else []

    def feed(self, text: str) -> list[Piece]:
        return self._behind_prefill(self._parts.feed(text))

    def flush(self, *, is_cut: bool = False) -> list[Piece]:
        return self._behind_prefill(self._parts.flush(is_cut=is_cut))

    def _behind_prefill(self, pieces: list[Piece]) -> list[Piece]:
        prefill, self._prefill = self._prefill, []
        return prefill + pieces


def tail_behind(header: str, prompt: str) -> str:
    """What follows the last `header` in `prompt`; nothing where it has none."""
    return prompt.rpartition(header)[2] if header in prompt else ""
