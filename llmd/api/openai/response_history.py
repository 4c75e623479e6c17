"""The conversation that a request continues: its own items after those of stored responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from llmd.api.openai.response_ids import ItemPlace, find_place, item_id, new_response_id
from llmd.api.openai.response_messages import to_messages
from llmd.api.openai.schema_response_items import Item, read_items
from llmd.api.openai.schema_responses import ResponsesRequest
from llmd.core.message import Message
from llmd.errors import InvalidRequest, PreviousResponseNotFound
from llmd.responses.record import RecordState, ResponseRecord
from llmd.responses.store import ResponseStore


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a response answers. `items` are what its own request brought; `messages` all."""

    response_id: str
    items: list[Item]
    messages: tuple[Message, ...]


async def read_conversation(
    store: ResponseStore, request: ResponsesRequest, tenant: str
) -> Conversation:
    """Raises InvalidRequest or Unsupported, naming the item at fault; PreviousResponseNotFound."""
    response_id = new_response_id()
    places = iter(range(1 << 30))
    items = read_items(
        request.input or [],
        lambda kind: item_id(kind, ItemPlace(response_id, "i", next(places))),
    )
    references = _References(store, tenant)
    items = [await references.resolve(index, item) for index, item in enumerate(items)]
    turns: list[list[Item]] = []
    if request.previous_response_id:
        for record in await _read_chain(store, tenant, request.previous_response_id):
            turns += [input_items(record), output_items(record)]
    return Conversation(response_id, items, to_messages([*turns, items]))


async def _read_chain(store: ResponseStore, tenant: str, previous_id: str) -> list[ResponseRecord]:
    records = await store.chain(tenant, previous_id)
    if not records or records[0].previous_id is not None:
        missing = records[0].previous_id if records else previous_id
        raise PreviousResponseNotFound(
            f"there is no stored response {missing!r} for this key: it was not stored, was deleted "
            f"or is too old. Send the whole conversation as input instead.",
            param="previous_response_id",
        )
    last = records[-1]
    status = orjson.loads(last.body)["status"]
    if last.state is not RecordState.FINISHED or status == "failed":
        raise InvalidRequest(
            f"the response {previous_id!r} is not finished, or has failed. Wait for it, or "
            "continue from the one before it.",
            param="previous_response_id",
        )
    return records


class _References:
    """What items of one request refer to; each stored response is read once."""

    def __init__(self, store: ResponseStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant
        self._items: dict[str, dict[str, Item]] = {}

    async def resolve(self, index: int, item: Item) -> Item:
        """What a reference means. A thought that a client sends back without its text is one too,
        where it is still known. Raises InvalidRequest for a reference to nothing.
        """
        is_reference = item["type"] == "item_reference"
        is_empty_thought = item["type"] == "reasoning" and not (
            item.get("content") or item["summary"]
        )
        if not (is_reference or is_empty_thought):
            return item
        found = await self._find(item["id"])
        if found is None and is_reference:
            raise InvalidRequest(
                f"item {index} of the input refers to {item['id']!r}, which is not in a stored "
                f"response of this key. Send the item itself.",
                param=f"input.{index}.id",
            )
        return found or item

    async def _find(self, id_: str) -> Item | None:
        place = find_place(id_)
        if place is None:
            return None
        if place.response_id not in self._items:
            record = await self._store.find(self._tenant, place.response_id)
            known = [] if record is None else [*input_items(record), *output_items(record)]
            self._items[place.response_id] = {item["id"]: item for item in known}
        return self._items[place.response_id].get(id_)


def input_items(record: ResponseRecord) -> list[Item]:
    """What its own request brought."""
    items: list[Item] = orjson.loads(record.input_items)
    return items


def all_input_items(chain: Sequence[ResponseRecord]) -> list[Item]:
    """What the last response of a chain was made of, the oldest first. An item that was sent again
    is there once, as lists are read on from an item's id.
    """
    *before, last = chain
    items = [each for record in before for each in (*input_items(record), *output_items(record))]
    found: dict[str, Item] = {}
    for item in (*items, *input_items(last)):
        found.setdefault(item["id"], item)
    return list(found.values())


def output_items(record: ResponseRecord) -> list[Item]:
    body: dict[str, Any] = orjson.loads(record.body)
    items: list[Item] = body["output"]
    return items
