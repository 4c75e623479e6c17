"""A response as the Responses API writes it: the object, and the events of its stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import orjson

from llmd.api.openai.encode_cache import cache_report
from llmd.api.openai.encode_response_items import ItemEvent, OutputItems
from llmd.api.openai.encode_usage import total_timings, usage
from llmd.api.openai.schema_response_tools import ResponseTools
from llmd.api.openai.schema_responses import ResponsesRequest
from llmd.api.openai.stream import raise_failure
from llmd.core.event import Finished
from llmd.core.output import FinishReason
from llmd.errors import LlmdError
from llmd.serving.generation import Generation

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class ResponseWriter:
    """Writes one response, from its first event to its last. Every event is given out once, in
    order, with the next sequence number.
    """

    def __init__(
        self, response_id: str, model: str, request: ResponsesRequest, tools: ResponseTools
    ) -> None:
        self.id = response_id
        self.created_at = int(time.time())
        self.status: Status = "queued" if request.background else "in_progress"
        self.is_stored = request.store
        self._request = _describe(request, tools)
        self._model = model
        self._items = OutputItems(response_id)
        self._completed_at: int | None = None
        self._num_events = 0
        self._end: dict[str, Any] = {}
        self._error: dict[str, Any] | None = None

    def encode(self) -> dict[str, Any]:
        """The Response object as it is now."""
        reason = {"reason": "max_output_tokens"} if self.status == "incomplete" else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": self._completed_at,
            "status": self.status,
            "error": self._error,
            "incomplete_details": reason,
            "model": self._model,
            "output": self._items.encode(),
            "usage": None,
            **self._request,
            "store": self.is_stored,
            **self._end,
        }

    def created(self) -> ItemEvent:
        return self._lifecycle("created")

    def queued(self) -> ItemEvent:
        return self._lifecycle("queued")

    async def advance(self, generation: Generation) -> AsyncIterator[ItemEvent]:
        """All events of a generation but the terminal one, which `terminal` makes when the
        response is safe. Raises what the generation raises, or EngineFailed.
        """
        if self._num_events == 0:
            yield self.created()
        self.status = "in_progress"
        yield self._lifecycle("in_progress")
        finished = None
        async for event in generation.events():
            raise_failure(event)
            if isinstance(event, Finished):
                finished = event
            for each in self._items.feed(event):
                yield self._numbered(each)
        assert finished is not None
        is_cut = finished.reason is FinishReason.LENGTH
        for each in self._items.finish(is_cut=is_cut):
            yield self._numbered(each)
        self._end = _end(generation, finished)
        self.status = "incomplete" if is_cut else "completed"
        self._completed_at = None if is_cut else int(time.time())

    def fail(self, error: LlmdError) -> Iterator[ItemEvent]:
        """All events but the terminal one, after a failure."""
        if self._num_events == 0:
            yield self.created()
        self._items.abandon()
        self.status = "failed"
        self._error = describe_error(error)
        yield self._numbered(
            {"type": "error", "code": error.code, "message": error.message, "param": error.param}
        )

    def cancel(self) -> None:
        """It ends here, and its client wanted it so."""
        self._items.abandon()
        self.status = "cancelled"

    def terminal(self) -> ItemEvent:
        """The last event. The API has none for what was cancelled: that is incomplete."""
        return self._lifecycle("incomplete" if self.status == "cancelled" else self.status)

    def _lifecycle(self, name: str) -> ItemEvent:
        return self._numbered({"type": f"response.{name}", "response": self.encode()})

    def _numbered(self, event: ItemEvent) -> ItemEvent:
        event["sequence_number"] = self._num_events
        self._num_events += 1
        return event


def encode_event(event: ItemEvent) -> bytes:
    """As server-sent events have it."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event))


def describe_error(error: LlmdError) -> dict[str, Any]:
    """The error of a Response object; the API has these codes alone."""
    code = "server_error"
    if error.status == 429:
        code = "rate_limit_exceeded"
    elif error.status < 500:
        code = "invalid_prompt"
    return {"code": code, "message": error.message}


def _end(generation: Generation, finished: Finished) -> dict[str, Any]:
    counts = usage(generation, [finished])
    cached = counts["prompt_tokens_details"]["cached_tokens"]
    reasoning = counts["completion_tokens_details"]["reasoning_tokens"]
    end: dict[str, Any] = {
        "usage": {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": counts["total_tokens"],
        },
        "timings": total_timings(generation, [finished]),
    }
    if finished.cache_report is not None:
        end["cache_report"] = cache_report(finished.cache_report)
    return end


def _describe(request: ResponsesRequest, tools: ResponseTools) -> dict[str, Any]:
    """What a Response repeats of its request; a field that was left out has its default."""
    choice = request.tool_choice
    return {
        "background": request.background,
        "conversation": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata,
        "parallel_tool_calls": request.parallel_tool_calls,
        "previous_response_id": request.previous_response_id or None,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": request.effort, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "temperature": request.temperature,
        "text": {
            "format": request.text.format.encode(),
            "verbosity": request.text.verbosity or "medium",
        },
        "tool_choice": choice if isinstance(choice, str) else choice.encode(),
        "tools": tools.encode(),
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": request.truncation,
        "user": request.user,
    }
