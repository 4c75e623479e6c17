"""The event grammar of the Responses API, held against the bytes of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

Event = dict[str, Any]

EVENT_TYPE: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

ENDS = {"response.completed", "response.incomplete", "response.failed"}


def read_events(raw: bytes) -> list[Event]:
    """The events of a whole stream, each framed as it has to be."""
    *blocks, rest = raw.decode().split("\n\n")
    assert rest == "" and "\r" not in raw.decode()
    events = []
    for block in blocks:
        if block.startswith(":"):
            continue
        named, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert named == f"event: {event['type']}"
        events.append(event)
    return events


def check_stream(raw: bytes, *, is_background: bool = False) -> Event:
    """Read a whole stream by the grammar; the final Response object."""
    return Grammar(read_events(raw), is_background=is_background).check()


class Grammar:
    """created, [queued,] in_progress, each item from added to done, and one terminal event; all
    that is said of an item as deltas is said again when it is done, and once more at the end. A
    failure is an error and the terminal event, wherever it comes.
    """

    def __init__(self, events: list[Event], *, is_background: bool) -> None:
        self._events = events
        self._is_background = is_background
        self._rest: Iterator[Event] = iter(events)
        self._items: list[Event] = []

    def check(self) -> Event:
        for number, event in enumerate(self._events):
            assert event["sequence_number"] == number
            EVENT_TYPE.validate_python(event)
        begun = "queued" if self._is_background else "in_progress"
        created = self._next("response.created")["response"]
        check_response(created, begun)
        if self._is_background:
            check_response(self._next("response.queued")["response"], "queued")
        last = next(self._rest)
        if last["type"] == "response.in_progress":
            check_response(last["response"], "in_progress")
            last = self._read_items()
        if last["type"] == "error":
            assert last.keys() == {"type", "code", "message", "param", "sequence_number"}
            last = self._next("response.failed")
        assert last["type"] in ENDS and next(self._rest, None) is None
        final: Event = last["response"]
        assert final["output"] == self._items or final["status"] in {"failed", "cancelled"}
        check_response(final, final["status"])
        if last["type"] != "response.incomplete" or final["status"] != "cancelled":
            assert last["type"] == f"response.{final['status']}"
        changing = {"status", "completed_at", "error", "incomplete_details", "output", "usage"}
        for name in created.keys() - changing:
            assert final[name] == created[name], name
        return final

    def _next(self, kind: str) -> Event:
        event = next(self._rest)
        assert event["type"] == kind, f"{event['type']} where {kind} is due"
        return event

    def _read_items(self) -> Event:
        """Up to the first event that is about no item."""
        for event in self._rest:
            if event["type"] in ENDS | {"error"}:
                return event
            assert event["type"] == "response.output_item.added"
            assert event["output_index"] == len(self._items)
            end = self._read_item(event["item"])
            if end is not None:
                return end
        raise AssertionError("no terminal event")

    def _read_item(self, item: Event) -> Event | None:
        """Adds it to the items; what ended the stream inside of it, if anything did."""
        place = {"item_id": item["id"], "output_index": len(self._items)}
        assert item["status"] == "in_progress"
        name = {
            "message": "output_text",
            "reasoning": "reasoning_text",
            "function_call": "function_call_arguments",
        }[item["type"]]
        if item["type"] == "message":
            assert item["content"] == []
            part = self._next("response.content_part.added")
            assert part["part"]["text"] == "" and part["content_index"] == 0
            assert part.items() >= place.items()
        elif item["type"] == "reasoning":
            assert item["content"] == item["summary"] == []
        else:
            assert item["arguments"] == "" and item["call_id"] and item["name"]
        if item["type"] != "function_call":
            place["content_index"] = 0
        text, logprobs = "", []
        for event in self._rest:
            if event["type"] == "error" or event["type"] in ENDS:
                return event
            assert event.items() >= place.items(), event
            if event["type"] == f"response.{name}.done":
                break
            assert event["type"] == f"response.{name}.delta"
            text += event["delta"]
            logprobs += event.get("logprobs", [])
        assert event["arguments" if name == "function_call_arguments" else "text"] == text
        if item["type"] == "message":
            assert event["logprobs"] == logprobs
            part = self._next("response.content_part.done")
            assert part.items() >= place.items() and part["part"]["text"] == text
        done = self._next("response.output_item.done")
        assert done["output_index"] == place["output_index"]
        check_item(done["item"], item["id"], text)
        self._items.append(done["item"])
        return None


def check_item(item: Event, id_: str, text: str) -> None:
    assert item["id"] == id_
    assert item["status"] in {"completed", "incomplete"}
    if item["type"] == "function_call":
        assert item["arguments"] == text
        assert json.loads(text) is not None or item["status"] == "incomplete"
    else:
        (part,) = item["content"]
        assert part["text"] == text


def check_response(response: Event, status: str) -> None:
    """What every Response object has to hold, whichever SDK reads it."""
    Response.model_validate(response)
    assert response["status"] == status
    assert response["id"].startswith("resp_") and response["object"] == "response"
    assert isinstance(response["created_at"], int)
    required = {
        "background", "error", "incomplete_details", "instructions", "max_output_tokens",
        "metadata", "model", "output", "parallel_tool_calls", "previous_response_id", "reasoning",
        "service_tier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs",
        "top_p", "truncation", "usage", "user",
    }  # fmt: skip
    assert required <= response.keys()
    assert (response["error"] is not None) == (status == "failed")
    assert (response["incomplete_details"] is not None) == (status == "incomplete")
    assert (response["completed_at"] is not None) == (status == "completed")
    if status in {"queued", "in_progress"}:
        assert response["output"] == [] and response["usage"] is None
    if status in {"completed", "incomplete"}:
        usage = response["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert 0 <= usage["input_tokens_details"]["cached_tokens"] < usage["input_tokens"]
        assert usage["output_tokens_details"]["reasoning_tokens"] <= usage["output_tokens"]
    ids = [item["id"] for item in response["output"]]
    assert len(set(ids)) == len(ids)
