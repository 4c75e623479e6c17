"""The output items of a response, put together of a generation's events, and the events that tell
a client about them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from llmd.api.openai.encode_chat import encode_logprobs
from llmd.api.openai.response_ids import ItemPlace, item_id
from llmd.api.openai.schema_response_items import Item
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
from llmd.core.output import TokenLogprob

ItemEvent = dict[str, Any]
"""An event of a response's stream, without its sequence number."""

Kind = Literal["message", "reasoning", "function_call"]

Status = Literal["in_progress", "completed", "incomplete"]


@dataclass(slots=True)
class OpenItem:
    """The item that the model is writing."""

    kind: Kind
    id: str
    index: int
    name: str = ""
    call_id: str = ""
    texts: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def encode(self, status: Status) -> Item:
        item: Item = {"id": self.id, "type": self.kind, "status": status}
        begun = status == "in_progress" and not self.texts
        match self.kind:
            case "message":
                part = text_part(self.text, self.logprobs)
                return item | {"role": "assistant", "content": [] if begun else [part]}
            case "reasoning":
                content = [{"type": "reasoning_text", "text": self.text}]
                return item | {"summary": [], "content": [] if begun else content}
            case "function_call":
                named = {"call_id": self.call_id, "name": self.name}
                return item | named | {"arguments": self.text}
            case _:
                assert_never(self.kind)


def text_part(text: str, logprobs: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


class OutputItems:
    """The output of one response. One item is open at a time."""

    def __init__(self, response_id: str) -> None:
        self._response_id = response_id
        self._done: list[Item] = []
        self._open: OpenItem | None = None

    def encode(self) -> list[Item]:
        """What there is so far, in order."""
        if self._open is None:
            return list(self._done)
        return [*self._done, self._open.encode("in_progress")]

    def feed(self, event: Event) -> Iterator[ItemEvent]:
        match event:
            case TextDelta(text="") if self._open is None or self._open.kind != "message":
                pass  # the logprobs of a marker that the client does not see
            case TextDelta(text="", logprobs=()):
                pass
            case TextDelta(text=text, logprobs=logprobs):
                yield from self._enter("message")
                yield from self._write(text, _encode_logprobs(logprobs))
            case ReasoningDelta(text=text):
                if text:
                    yield from self._enter("reasoning")
                    yield from self._write(text)
            case ToolCallStarted(id=call_id, name=name):
                yield from self.close("completed")
                yield from self._begin("function_call", name=name, call_id=call_id)
            case ToolCallDelta(arguments=arguments):
                if arguments:
                    yield from self._write(arguments)
            case Finished() | PromptEcho() | PromptAdvanced():
                pass
            case _:
                assert_never(event)

    def finish(self, *, is_cut: bool) -> Iterator[ItemEvent]:
        """After the last event of a generation that did not fail; `is_cut` by a limit. An answer
        without anything is an empty message.
        """
        if self._open is None and not self._done:
            yield from self._begin("message")
        yield from self.close("incomplete" if is_cut else "completed")

    def abandon(self) -> None:
        """After a failure: what is open stays as it is."""
        if self._open is not None:
            self._done.append(self._open.encode("incomplete"))
            self._open = None

    def close(self, status: Status) -> Iterator[ItemEvent]:
        """End the open item, if there is one."""
        item = self._open
        if item is None:
            return
        match item.kind:
            case "message":
                done = {"content_index": 0, "text": item.text, "logprobs": item.logprobs}
                yield self._event("response.output_text.done", **done)
                part = text_part(item.text, item.logprobs)
                yield self._event("response.content_part.done", content_index=0, part=part)
            case "reasoning":
                yield self._event("response.reasoning_text.done", content_index=0, text=item.text)
            case "function_call":
                yield self._event(
                    "response.function_call_arguments.done", name=item.name, arguments=item.text
                )
            case _:
                assert_never(item.kind)
        encoded = item.encode(status)
        self._open = None
        self._done.append(encoded)
        yield {
            "type": "response.output_item.done", "output_index": item.index, "item": encoded
        }  # fmt: skip

    def _enter(self, kind: Kind) -> Iterator[ItemEvent]:
        if self._open is None or self._open.kind != kind:
            yield from self.close("completed")
            yield from self._begin(kind)

    def _begin(self, kind: Kind, *, name: str = "", call_id: str = "") -> Iterator[ItemEvent]:
        index = len(self._done)
        id_ = item_id(kind, ItemPlace(self._response_id, "o", index))
        self._open = OpenItem(kind, id_, index, name, call_id)
        item = self._open.encode("in_progress")
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        if kind == "message":
            yield self._event("response.content_part.added", content_index=0, part=text_part(""))

    def _write(self, text: str, logprobs: Sequence[dict[str, Any]] = ()) -> Iterator[ItemEvent]:
        item = self._open
        assert item is not None
        item.texts.append(text)
        match item.kind:
            case "message":
                item.logprobs += logprobs
                yield self._event(
                    "response.output_text.delta",
                    content_index=0,
                    delta=text,
                    logprobs=list(logprobs),
                )
            case "reasoning":
                yield self._event("response.reasoning_text.delta", content_index=0, delta=text)
            case "function_call":
                yield self._event("response.function_call_arguments.delta", delta=text)
            case _:
                assert_never(item.kind)

    def _event(self, kind: str, **fields: Any) -> ItemEvent:
        """One about the open item."""
        assert self._open is not None
        return {
            "type": kind, "item_id": self._open.id, "output_index": self._open.index, **fields
        }  # fmt: skip


def _encode_logprobs(logprobs: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = encode_logprobs(logprobs)["content"]
    return entries
