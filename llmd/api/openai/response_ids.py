"""The ids of responses and of their items.

An item's id holds that of its response and its place there, so that a reference to it finds it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Literal

_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
_ITEM_ID = re.compile(r"[a-z]+_([0-9a-f]{32})([io])(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """Item `index` of the input (side "i") or output ("o") of a response."""

    response_id: str
    side: Literal["i", "o"]
    index: int


def new_response_id() -> str:
    return f"resp_{secrets.token_hex(16)}"


def item_id(kind: str, place: ItemPlace) -> str:
    token = place.response_id.removeprefix("resp_")
    return f"{_PREFIXES.get(kind, 'item')}_{token}{place.side}{place.index}"


def find_place(id_: str) -> ItemPlace | None:
    """Where the item of that id is; None for an id that llmd did not give out."""
    match = _ITEM_ID.fullmatch(id_)
    if match is None:
        return None
    token, side, index = match.groups()
    return ItemPlace(f"resp_{token}", "i" if side == "i" else "o", int(index))
