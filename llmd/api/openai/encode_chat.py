"""Chat completions as the OpenAI API writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import orjson

from llmd.api.openai.encode_usage import timings, usage
from llmd.api.openai.stream import FINISH_REASONS, ChunkHead, answer_head, raise_failure
from llmd.core.event import Event, Finished, PromptEcho, TextDelta
from llmd.core.output import Candidate, Timings, TokenLogprob
from llmd.serving.generation import Generation


class ChatEncoder:
    """Events of one generation to the chunks of its stream: a role first for each choice, then
    text, then its finish chunk.
    """

    def __init__(self, generation: Generation, *, num_choices: int) -> None:
        self._num_choices = num_choices
        self.head = ChunkHead(answer_head(generation, "chatcmpl", "chat.completion.chunk"))
        # All chunks but a few differ in their text alone, and are put together from pieces.
        self._text_heads = [
            self.head.data + b'"choices":[{"index":%d,"delta":{"content":' % index
            for index in range(num_choices)
        ]

    def start(self) -> bytes:
        """Sent before the first token is known."""
        delta = {"role": "assistant", "content": ""}
        return b"".join(self._chunk(index, delta) for index in range(self._num_choices))

    def feed(self, event: Event) -> bytes:
        match event:
            case TextDelta(index=index, text=text, logprobs=logprobs, timings=so_far):
                if not logprobs and so_far is None:
                    data = orjson.dumps(text)
                    return self._text_heads[index] + data + b'},"finish_reason":null}]}\n\n'
                encoded = encode_logprobs(logprobs) if logprobs else None
                return self._chunk(index, {"content": text}, logprobs=encoded, timed=so_far)
            case Finished(index=index, reason=reason, timings=total):
                return self._chunk(index, {}, FINISH_REASONS[reason], timed=total)
            case PromptEcho():
                return b""
            case _:
                assert_never(event)

    def _chunk(
        self,
        index: int,
        delta: dict[str, str],
        finish_reason: str | None = None,
        logprobs: Any = None,
        timed: Timings | None = None,
    ) -> bytes:
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": finish_reason}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        return self.head.chunk(choice, timed)


def encode_completion(generation: Generation, events: Sequence[Event], num_choices: int) -> bytes:
    """The whole answer of a request without stream. Raises EngineFailed if a choice failed."""
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
    ends = list(finished.values())
    return orjson.dumps(
        {
            **answer_head(generation, "chatcmpl", "chat.completion"),
            "choices": choices,
            "usage": usage(sum(generation.num_prompt_tokens), ends),
            "timings": timings([event.timings for event in ends]),
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
