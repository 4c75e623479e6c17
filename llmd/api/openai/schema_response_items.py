"""The input items of the Responses API, read and made alike: as they are kept and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import orjson

from llmd.api import json_body
from llmd.api.json_body import JsonModel
from llmd.errors import InvalidRequest, Unsupported

Item = dict[str, Any]
"""One input or output item, as JSON."""

Where = tuple[str | int, ...]

TEXT_PARTS = {"input_text", "output_text", "text"}


class Part(JsonModel):
    type: str
    text: str = ""
    refusal: str = ""


class MessageItem(JsonModel):
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]

    def normal(self, at: Where, item_id: str) -> Item:
        kind = "output_text" if self.role == "assistant" else "input_text"
        if isinstance(self.content, str):
            parts = [_text_part(kind, self.content)]
        else:
            parts = [_read_part(part, kind, (*at, "content", i))
                     for i, part in enumerate(self.content)]  # fmt: skip
        return {
            "id": self.id or item_id,
            "type": "message",
            "role": self.role,
            "status": "completed",
            "content": parts,
        }


class FunctionCallItem(JsonModel):
    id: str | None = None
    call_id: str | None = None
    name: str
    arguments: str | dict[str, Any] = "{}"

    def normal(self, _at: Where, item_id: str) -> Item:
        arguments = self.arguments
        return {
            "id": self.id or item_id,
            "type": "function_call",
            # Some clients send back only one of the two.
            "call_id": self.call_id or self.id or item_id,
            "name": self.name,
            "arguments": (
                arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
            ),
            "status": "completed",
        }


class FunctionCallOutputItem(JsonModel):
    id: str | None = None
    call_id: str
    output: str | list[Part]

    def normal(self, at: Where, item_id: str) -> Item:
        output: str | list[Item]
        if isinstance(self.output, str):
            output = self.output
        else:
            output = [_read_part(part, "input_text", (*at, "output", i))
                      for i, part in enumerate(self.output)]  # fmt: skip
        return {
            "id": self.id or item_id,
            "type": "function_call_output",
            "call_id": self.call_id,
            "output": output,
            "status": "completed",
        }


class ReasoningItem(JsonModel):
    id: str | None = None
    summary: list[Part] = []
    content: list[Part] = []
    encrypted_content: str | None = None

    def normal(self, _at: Where, item_id: str) -> Item:
        item: Item = {
            "id": self.id or item_id,
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": part.text} for part in self.summary],
            "status": "completed",
        }
        if self.content:
            item["content"] = [
                {"type": "reasoning_text", "text": part.text} for part in self.content
            ]
        if self.encrypted_content is not None:
            item["encrypted_content"] = self.encrypted_content
        return item


class ItemReference(JsonModel):
    id: str

    def normal(self, _at: Where, _item_id: str) -> Item:
        return {"type": "item_reference", "id": self.id}


_KINDS: dict[
    str,
    type[MessageItem]
    | type[FunctionCallItem]
    | type[FunctionCallOutputItem]
    | type[ReasoningItem]
    | type[ItemReference],
] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "function_call_output": FunctionCallOutputItem,
    "reasoning": ReasoningItem,
    "item_reference": ItemReference,
}


def read_items(given: str | Sequence[Any], make_id: Callable[[str], str]) -> list[Item]:
    """The items of `input`, each with all that an item of its kind has; a string is a user's
    message. References stay references. `make_id` gives ids, by kind, to items without one. Raises
    InvalidRequest or Unsupported, naming the item by its index.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_read_item(item, ("input", index), make_id) for index, item in enumerate(given)]


def _read_item(item: Any, at: Where, make_id: Callable[[str], str]) -> Item:
    if not isinstance(item, dict):
        raise InvalidRequest(
            f"item {at[1]} of the input is no object. Send {{'role': 'user', 'content': ...}}, or "
            "a string as the whole input.",
            param=_path(at),
        )
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item or "id" not in item else "item_reference"
    schema = _KINDS.get(kind) if isinstance(kind, str) else None
    if schema is None:
        known = ", ".join(_KINDS)
        raise Unsupported(
            f"items of type {kind!r} cannot be read here. Leave item {at[1]} of the input out, or "
            f"send one of: {known}.",
            param=_path((*at, "type")),
        )
    return json_body.validate(item, schema, at=at).normal(at, make_id(kind))


def _read_part(part: Part, kind: str, at: Where) -> Item:
    if part.type in TEXT_PARTS:
        return _text_part(kind, part.text)
    if part.type == "refusal":
        return {"type": "refusal", "refusal": part.refusal or part.text}
    raise Unsupported(
        f"this model takes text only, not a content part of type {part.type!r}. Send parts of type "
        f"{kind!r}.",
        param=_path(at),
    )


def _text_part(kind: str, text: str) -> Item:
    part: Item = {"type": kind, "text": text}
    if kind == "output_text":
        part["annotations"] = []
    return part


def _path(at: Where) -> str:
    return ".".join(map(str, at))
