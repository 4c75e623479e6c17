"""Chat completions as the OpenAI API writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import orjson

from llmd.api.openai.encode_usage import answer_tail
from llmd.api.openai.stream import FINISH_REASONS, ChunkHead, answer_head, raise_failure
from llmd.core.event import Event, Finished, PromptAdvanced, PromptEcho, TextDelta
from llmd.core.output import Candidate, TokenLogprob
from llmd.serving.generation import Generation


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
            case TextDelta(index=index, text=text, logprobs=logprobs, timings=so_far):
                if not logprobs and so_far is None:
                    data = orjson.dumps(text)
                    return self._text_heads[index] + data + b'},"finish_reason":null}]}\n\n'
                choice = _choice(index, {"content": text})
                if logprobs:
                    choice["logprobs"] = encode_logprobs(logprobs)
                return self.head.chunk(choice, timed=so_far)
            case PromptAdvanced(index=index, progress=progress):
                # No role: accumulators would join it to the one that start() sent.
                return self.head.chunk(_choice(index, {"content": ""}), progress=progress)
            case Finished(index=index, reason=reason, timings=total, cache_report=report):
                choice = _choice(index, {}, FINISH_REASONS[reason])
                return self.head.chunk(choice, timed=total, report=report)
            case PromptEcho():
                return b""
            case _:
                assert_never(event)


def _choice(index: int, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish_reason}


def encode_completion(generation: Generation, events: Sequence[Event]) -> bytes:
    """The whole answer of a request without stream. Raises EngineFailed if a choice failed."""
    num_choices = generation.num_choices
    texts = [""] * num_choices
    logprobs: list[list[TokenLogprob]] = [[] for _ in range(num_choices)]
    finished: dict[int, Finished] = {}
    for event in events:
        raise_failure(event)
        if isinstance(event, TextDelta):
            texts[event.index] += event.text
            logprobs[event.index] += event.logprobs
        elif isinstance(event, Finished):
            finished[event.index] = event
    choices = []
    for index in range(num_choices):
        choice: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": texts[index]},
            "finish_reason": FINISH_REASONS[finished[index].reason],
        }
        if logprobs[index]:
            choice["logprobs"] = encode_logprobs(logprobs[index])
        choices.append(choice)
    return orjson.dumps(
        {
            **answer_head(generation, "chatcmpl", "chat.completion"),
            "choices": choices,
            **answer_tail(generation, list(finished.values())),
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
