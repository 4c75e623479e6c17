from __future__ import annotations

from typing import Any

import pytest

from llmd.cli.ps import _row

LOADED: dict[str, Any] = {
    "id": "a",
    "state": "ready",
    "memory": {"total": 3 * 2**30},
    "context_length": 4096,
    "num_users": 0,
    "last_used": 1000.0,
    "expires_at": 1900.0,
    "load_progress": 1.0,
}


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ({"id": "a", "state": "unloaded"}, "a unloaded - - - - -"),
        ({"id": "a", "state": "loading", "load_progress": 0.5, "memory": {"total": 2**20}},
         "a loading_50% 1.0_MiB - - - -"),
        (LOADED, "a ready 3.0_GiB 4096 0 30s_ago in_14m"),
        (LOADED | {"num_users": 2}, "a ready 3.0_GiB 4096 2 now not_while_used"),
        (LOADED | {"expires_at": None}, "a ready 3.0_GiB 4096 0 30s_ago never"),
        (LOADED | {"state": "draining", "num_users": 1}, "a draining 3.0_GiB 4096 1 now -"),
    ],
)  # fmt: skip
def test_a_model_is_a_row(model: dict[str, Any], row: str) -> None:
    assert [cell.replace(" ", "_") for cell in _row(model, 1030.0)] == row.split()
