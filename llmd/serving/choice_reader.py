"""One choice's text as the events that clients see."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import assert_never

from llmd.chat.answer.piece import CallArguments, CallStarted, Piece, Text, Thought
from llmd.chat.answer.reader import AnswerReader
from llmd.chat.format.chat_format import ChatFormat
from llmd.core.event import ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from llmd.core.output import FinishReason, Output, Timings
from llmd.core.request import ChatPrompt, GenerateRequest, Prompt
from llmd.serving.prompt import EncodedPrompt

Delta = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta


class ChoiceReader:
    """Reads the outputs of choice `index`. Event loop only."""

    def __init__(self, index: int, reader: AnswerReader | None, taken_ids: Collection[str]) -> None:
        """Without a `reader`, all is text. `taken_ids` are those of the conversation's calls: an
        id that the model writes is kept unless it is one of them, as clients tell calls apart by
        their ids, and the template will write it again.
        """
        self.call_ids: list[str] = []
        self.thoughts: list[str] = []
        self._index = index
        self._reader = reader
        self._taken_ids = set(taken_ids)

    @property
    def num_calls(self) -> int:
        return len(self.call_ids)

    @property
    def in_thought(self) -> bool:
        """Whether what comes next is a thought: at first, whether the prompt ends inside one."""
        return self._reader is not None and self._reader.in_thought

    def read(self, output: Output, timings: Timings | None) -> list[Delta]:
        """The news of an output. Its logprobs, and `timings`, stand in the first delta."""
        if self._reader is None:
            pieces: list[Piece] = [Text(output.text)] if output.text else []
        else:
            pieces = self._reader.feed(output.text) if output.text else []
            if output.finish_reason is not None:
                # A stop string is an end that was asked for: a call that it cuts is closed.
                is_cut = output.finish_reason is not FinishReason.STOP
                pieces += self._reader.flush(is_cut=is_cut)
        if not pieces and output.logprobs:
            pieces = [Text("")]
        deltas = [self._delta(piece) for piece in pieces]
        if deltas and (output.logprobs or timings is not None):
            deltas[0] = replace(deltas[0], logprobs=output.logprobs, timings=timings)
        return deltas

    def _delta(self, piece: Piece) -> Delta:
        match piece:
            case Text(text):
                return TextDelta(self._index, text)
            case Thought(text):
                self.thoughts.append(text)
                return ReasoningDelta(self._index, text)
            case CallStarted(name, written_id):
                self.call_ids.append(self._call_id(written_id))
                return ToolCallStarted(self._index, self.num_calls - 1, self.call_ids[-1], name)
            case CallArguments(text):
                return ToolCallDelta(self._index, self.num_calls - 1, text)
            case _:
                assert_never(piece)

    def _call_id(self, written: str | None) -> str:
        call_id = written
        if not call_id or call_id in self._taken_ids:
            call_id = f"call_{secrets.token_hex(12)}"
        self._taken_ids.add(call_id)
        return call_id


def make_readers(
    chat_format: ChatFormat, request: GenerateRequest, encoded: Sequence[EncodedPrompt]
) -> list[ChoiceReader]:
    """One for each sequence of a request, in order."""
    return [
        _make_reader(number * request.num_choices + choice, chat_format, prompt, each)
        for number, (prompt, each) in enumerate(zip(request.prompts, encoded, strict=True))
        for choice in range(request.num_choices)
    ]


def _make_reader(
    index: int, chat_format: ChatFormat, prompt: Prompt, encoded: EncodedPrompt
) -> ChoiceReader:
    if not isinstance(prompt, ChatPrompt) or encoded.chat_text is None:
        return ChoiceReader(index, None, ())
    reader = chat_format.reader(
        encoded.chat_text, prompt.tools, splits_thoughts=prompt.splits_thoughts
    )
    taken = {call.id for message in prompt.messages for call in message.tool_calls if call.id}
    return ChoiceReader(index, reader, taken)
