"""Chat completions as the OpenAI API writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import orjson

from llmd.api.openai.encode_message import ChoiceMessage
from llmd.api.openai.encode_usage import answer_tail
from llmd.api.openai.stream import ChunkHead, answer_head, finish_reason, raise_failure
from llmd.core.event import (
    Event,
    Finished,
    PromptAdvanced,
    PromptEcho,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from llmd.core.output import Candidate, TokenLogprob
from llmd.serving.generation import Generation

Delta = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta

_TEXT_TAIL = b'},"finish_reason":null}]}\n\n'


class ChatEncoder:
    """Events of one generation to the chunks of its stream: a role first for each choice, then
    text, then its finish chunk.
    """

    def __init__(self, generation: Generation) -> None:
        self._num_choices = generation.num_choices
        self.head = ChunkHead(answer_head(generation, "chatcmpl", "chat.completion.chunk"))
        # All chunks but a few differ in their text alone, and are put together from pieces.
        self._text_heads = [
            self.head.data + b'"choices":[{"index":%d,"delta":{"content":' % index
            for index in range(self._num_choices)
        ]

    def start(self) -> bytes:
        """Sent before the first token is known."""
        delta = {"role": "assistant", "content": ""}
        return b"".join(
            self.head.chunk(_choice(index, delta)) for index in range(self._num_choices)
        )

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta(index=index, text=text, logprobs=(), timings=None):
                return self._text_heads[index] + orjson.dumps(text) + _TEXT_TAIL
            case TextDelta(text=text):
                return self._delta(event, {"content": text})
            case ReasoningDelta(text=text):
                return self._delta(event, {"reasoning_content": text})
            case ToolCallStarted(call=call, id=id_, name=name):
                function = {"name": name, "arguments": ""}
                # Clients join what is said twice: this is said once.
                started = {"index": call, "id": id_, "type": "function", "function": function}
                return self._delta(event, {"tool_calls": [started]})
            case ToolCallDelta(call=call, arguments=arguments):
                more = {"index": call, "function": {"arguments": arguments}}
                return self._delta(event, {"tool_calls": [more]})
            case PromptAdvanced(index=index, progress=progress):
                # No role: accumulators would join it to the one that start() sent.
                return self.head.chunk(_choice(index, {"content": ""}), progress=progress)
            case Finished(index=index, timings=total, cache_report=report):
                choice = _choice(index, {}, finish_reason(event))
                return self.head.chunk(choice, timed=total, report=report)
            case PromptEcho():
                return b""
            case _:
                assert_never(event)

    def _delta(self, event: Delta, delta: dict[str, Any]) -> bytes:
        choice = _choice(event.index, delta)
        if event.logprobs:
            choice["logprobs"] = encode_logprobs(event.logprobs)
        return self.head.chunk(choice, timed=event.timings)


def _choice(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": reason}


def encode_completion(generation: Generation, events: Sequence[Event]) -> bytes:
    """The whole answer of a request without stream. Raises EngineFailed if a choice failed."""
    messages = [ChoiceMessage() for _ in range(generation.num_choices)]
    for event in events:
        raise_failure(event)
        messages[event.index].add(event)
    choices = []
    ends = []
    for index, message in enumerate(messages):
        assert message.finished is not None
        ends.append(message.finished)
        choice: dict[str, Any] = {
            "index": index,
            "message": message.encode(),
            "finish_reason": finish_reason(message.finished),
        }
        if message.logprobs:
            choice["logprobs"] = encode_logprobs(message.logprobs)
        choices.append(choice)
    return orjson.dumps(
        {
            **answer_head(generation, "chatcmpl", "chat.completion"),
            "choices": choices,
            **answer_tail(generation, ends),
        }
    )


def encode_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """The logprobs object of a chat choice."""
    content = []
    for logprob in logprobs:
        entry = _encode_candidate(logprob.chosen)
        entry["top_logprobs"] = [_encode_candidate(candidate) for candidate in logprob.top]
        content.append(entry)
    return {"content": content, "refusal": None}


def _encode_candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "token": candidate.text.decode("utf-8", "replace"),
        # JSON has no infinity; this is OpenAI's own floor.
        "logprob": max(candidate.logprob, -9999.0),
        "bytes": list(candidate.text),
    }
