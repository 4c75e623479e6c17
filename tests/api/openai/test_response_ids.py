from __future__ import annotations

import pytest

from llmd.api.openai.response_ids import ItemPlace, find_place, item_id, new_response_id


@pytest.mark.parametrize("kind", ["message", "function_call", "function_call_output", "reasoning"])
@pytest.mark.parametrize("side", ["i", "o"])
def test_an_item_is_found_by_its_id(kind: str, side: str) -> None:
    place = ItemPlace(new_response_id(), "i" if side == "i" else "o", 12)
    assert find_place(item_id(kind, place)) == place


@pytest.mark.parametrize("id_", ["", "msg_1", "msg_68af4030baa48193b0b43b4c2a176a1a0c", "rs_x i1"])
def test_ids_of_others_have_no_place(id_: str) -> None:
    assert find_place(id_) is None


def test_no_two_responses_have_the_same_id() -> None:
    assert len({new_response_id() for _ in range(100)}) == 100
