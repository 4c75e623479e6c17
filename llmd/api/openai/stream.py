"""A generation as the bytes of an OpenAI event stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import orjson

from llmd.api.errors import openai_body
from llmd.api.openai.encode_cache import cache_report, prompt_progress
from llmd.api.openai.encode_usage import timings, total_timings, usage
from llmd.core.event import Event, Finished
from llmd.core.output import CacheReport, FinishReason, PromptProgress, Timings
from llmd.errors import EngineFailed, InvalidRequest, LlmdError
from llmd.serving.generation import Generation

DONE = b"data: [DONE]\n\n"

FINISH_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.ABORTED: "stop",
    FinishReason.ERROR: "error",
}


class Encoder(Protocol):
    """One API's chunks of one generation."""

    @property
    def head(self) -> ChunkHead: ...

    def start(self) -> bytes:
        """Sent before the first token is known; may be empty."""
        ...

    def feed(self, event: Event) -> bytes: ...


async def stream(
    generation: Generation, encoder: Encoder, *, include_usage: bool
) -> AsyncIterator[bytes]:
    """The bytes of a streamed answer: the encoder's chunks, the usage if asked for, and [DONE]. An
    error after the first byte is an event of it, followed by the same end.
    """
    finished: list[Finished] = []
    data = encoder.start()
    if data:
        yield data
    try:
        async for event in generation.events():
            raise_failure(event)
            if isinstance(event, Finished):
                finished.append(event)
            data = encoder.feed(event)
            if data:
                yield data
    except LlmdError as error:
        yield failure(error)
    else:
        usage_chunk = encoder.head.usage_chunk(generation, finished) if include_usage else b""
        yield usage_chunk + DONE


def failure(error: LlmdError) -> bytes:
    """The end of a stream that failed."""
    return b"data: " + orjson.dumps(openai_body(error)) + b"\n\n" + DONE


def finish_reason(end: Finished) -> str:
    """OpenAI's word. An answer that ended by itself after a call ended for the call's sake; one
    that was cut off says so, whatever it holds.
    """
    if end.num_calls and end.reason is FinishReason.STOP:
        return "tool_calls"
    return FINISH_REASONS[end.reason]


def raise_failure(event: Event) -> None:
    """Raises InvalidRequest or EngineFailed for a choice that ended with an error."""
    if isinstance(event, Finished) and event.reason is FinishReason.ERROR:
        if event.is_request_fault and event.error:
            raise InvalidRequest(event.error)
        raise EngineFailed(event.error or "the engine failed. Try again.")


def answer_head(generation: Generation, id_prefix: str, kind: str) -> dict[str, Any]:
    """What every answer, and every chunk of one, begins with; `kind` is its `object`."""
    return {
        "id": f"{id_prefix}-{generation.id}",
        "object": kind,
        "created": int(time.time()),
        "model": generation.model_name,
        "system_fingerprint": generation.fingerprint,
    }


class ChunkHead:
    """What every chunk of a stream begins with, encoded once."""

    def __init__(self, head: dict[str, Any]) -> None:
        self.data = b"data: " + orjson.dumps(head)[:-1] + b","

    def chunk(
        self,
        choice: dict[str, Any],
        *,
        timed: Timings | None = None,
        progress: PromptProgress | None = None,
        report: CacheReport | None = None,
    ) -> bytes:
        """A chunk of one choice, with what stands beside it where that is due."""
        body: dict[str, Any] = {"choices": [choice]}
        if timed is not None:
            body["timings"] = timings(timed)
        if progress is not None:
            body["prompt_progress"] = prompt_progress(progress)
        if report is not None:
            body["cache_report"] = cache_report(report)
        return self._encode(body)

    def usage_chunk(self, generation: Generation, finished: list[Finished]) -> bytes:
        """The last chunk before [DONE], for those who asked for it."""
        return self._encode(
            {
                "choices": [],
                "usage": usage(generation, finished),
                "timings": total_timings(generation, finished),
            }
        )

    def _encode(self, body: dict[str, Any]) -> bytes:
        return self.data + orjson.dumps(body)[1:] + b"\n\n"
