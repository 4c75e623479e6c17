"""How a model's messages are written: plain data, derived from a template or given by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmd.chat.answer.reader import AnswerReader, FrameReader
from llmd.chat.calls.base import CallSyntax, ToolSchemas


@dataclass(frozen=True, slots=True)
class ThoughtSyntax:
    """The markers around a thought, without outer blanks. `written_open` and `written_close` are
    what the template itself writes there, blanks included.
    """

    open: str
    close: str
    written_open: str = ""
    written_close: str = ""

    @property
    def closing(self) -> str:
        """What ends an unfinished thought as the model itself would."""
        return self.written_close or self.close


class AnswerSyntax(Protocol):
    """What every family's syntax gives; MessageSyntax is the common one."""

    @property
    def header(self) -> str:
        """Ends the part of a prompt that all of the assistant's turns share."""

    @property
    def thought(self) -> ThoughtSyntax | None:
        """How thoughts are marked, None where there are none."""

    @property
    def ends(self) -> tuple[str, ...]:
        """Texts that end a turn: never content where an answer ends with them."""

    def prompt_tail(self, prompt: str) -> str:
        """What of the assistant's message stands at the end of `prompt` already."""

    def reader(
        self,
        prompt_tail: str,
        tools: ToolSchemas,
        *,
        splits_thoughts: bool,
        keeps_prefill: bool = False,
    ) -> AnswerReader:
        """A reader for one answer to a prompt that ends with `prompt_tail`.

        Without tools call markers are text. `splits_thoughts` False leaves thoughts in the text,
        with their markers, also with an opener that stood in the prompt. `keeps_prefill` gives
        what the prompt's tail says as the first pieces.
        """


@dataclass(frozen=True, slots=True)
class MessageSyntax:
    """A message is `header`, perhaps a thought, then text and calls in any order, then an end.

    Markers are without outer blanks. `content` are markers around the text, empty where there are
    none. `noise` are markers that mean nothing within a text. `other_headers` stand in the place
    of `header` behind other turns than a user's, such as tool results.
    """

    header: str
    thought: ThoughtSyntax | None = None
    content: tuple[str, str] = ("", "")
    calls: CallSyntax | None = None
    ends: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    other_headers: tuple[str, ...] = ()

    def prompt_tail(self, prompt: str) -> str:
        """See AnswerSyntax."""
        ends = [prompt.rfind(h) + len(h) for h in (self.header, *self.other_headers) if h in prompt]
        return prompt[max(ends, default=len(prompt)) :]

    def reader(
        self,
        prompt_tail: str,
        tools: ToolSchemas,
        *,
        splits_thoughts: bool,
        keeps_prefill: bool = False,
    ) -> AnswerReader:
        """See AnswerSyntax."""
        thought = self.thought
        return FrameReader(
            prompt_tail,
            tools,
            thought=(thought.open, thought.close) if thought else None,
            content=self.content,
            calls=self.calls if tools.names else None,
            ends=self.ends,
            noise=self.noise,
            splits_thoughts=splits_thoughts,
            keeps_prefill=keeps_prefill,
        )
