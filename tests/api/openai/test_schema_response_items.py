from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from llmd.api.openai.schema_response_items import read_items
from llmd.errors import InvalidRequest, Unsupported

ITEM_TYPE: TypeAdapter[Any] = TypeAdapter(ResponseItem)

USER = {"role": "user", "content": "hello"}


def read(*items: Any) -> list[dict[str, Any]]:
    return read_items(items, lambda kind: f"{kind}_new")


def test_a_string_is_what_a_user_says() -> None:
    assert read_items("hello", lambda kind: f"{kind}_new") == read(USER)


def test_a_message_with_text_is_one_with_a_part() -> None:
    part = {"type": "input_text", "text": "hello"}
    whole = {"type": "message", "role": "user", "content": [part]}
    assert read(USER) == read(whole) == [{**whole, "id": "message_new", "status": "completed"}]


@pytest.mark.parametrize(
    "item",
    [
        USER,
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "done"},
        {"type": "function_call_output", "call_id": "c",
         "output": [{"type": "input_text", "text": "done"}]},
        {"type": "reasoning", "summary": [],
         "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None},
    ],
)  # fmt: skip
def test_every_kind_is_shown_as_sdks_read_it(item: dict[str, Any]) -> None:
    (read_item,) = read(item)
    ITEM_TYPE.validate_python(read_item)


def test_ids_of_the_client_stay() -> None:
    assert read({**USER, "id": "mine"})[0]["id"] == "mine"


def test_a_call_may_come_back_with_one_of_its_ids() -> None:
    assert read({"type": "function_call", "id": "fc_1", "name": "f"})[0]["call_id"] == "fc_1"


def test_what_an_answer_was_comes_back_as_it_was() -> None:
    item = {
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "a", "annotations": []}],
    }  # fmt: skip
    assert read(item) == [item]


def test_a_reference_is_told_by_its_id_alone() -> None:
    expected = [{"type": "item_reference", "id": "msg_1"}]
    assert read({"id": "msg_1"}) == read({"type": "item_reference", "id": "msg_1"}) == expected


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "computer_call", "id": "x"}, "input.1.type"),
        ({"type": 7}, "input.1.type"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]},
         "input.1.content.0"),
        ({"role": "user", "content": [{"type": "input_text", "text": "a"},
                                      {"type": "input_file", "file_id": "x"}]},
         "input.1.content.1"),
        ({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]},
         "input.1.output.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_its_index(item: dict[str, Any], param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        read(USER, item)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": "tool", "content": "x"}, "input.1.role"),
        ({"role": "user"}, "input.1.content"),
        ({}, "input.1.role"),
        ({"role": "user", "content": [{"text": "no type"}]}, "input.1.content"),
        ({"type": "function_call", "call_id": "c"}, "input.1.name"),
        ({"type": "function_call_output", "output": "x"}, "input.1.call_id"),
        ({"type": "function_call_output", "call_id": "c", "output": 7}, "input.1.output"),
        ({"type": "item_reference"}, "input.1.id"),
        ("x", "input.1"),
        (None, "input.1"),
    ],
)
def test_a_fault_is_named_by_its_path(item: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(USER, item)
    assert caught.value.param == param
