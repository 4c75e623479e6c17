from __future__ import annotations

from typing import Any

import pytest

from llmd.recording.redaction import REDACTED, redact

KEY = "sk-0123456789"


def test_a_secret_is_taken_out_wherever_it_stands() -> None:
    value = {"a": f"my key is {KEY}!", "b": [KEY, {KEY: 1}], "c": 1.5, "d": None}
    assert redact(value, [KEY]) == {
        "a": f"my key is {REDACTED}!", "b": [REDACTED, {REDACTED: 1}], "c": 1.5, "d": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["authorization", "Authorization", "api_key", "X-API-Key", "accessToken"]
)
def test_a_field_that_is_named_as_a_secret_is_one(name: str) -> None:
    tool = {"type": "mcp", "headers": {name: "Bearer abc"}}
    assert redact(tool, []) == {"type": "mcp", "headers": {name: REDACTED}}


@pytest.mark.parametrize(
    "value",
    [
        {"properties": {"api_key": {"type": "string"}}},
        {"key": "value", "token": "word", "max_tokens": 5},
        ["authorization", "api_key"],
    ],
)
def test_nothing_else_changes(value: Any) -> None:
    assert redact(value, []) == value


@pytest.mark.parametrize("word", ["", "x", "none", "dummy"])
def test_what_is_too_short_to_be_a_key_is_a_word(word: str) -> None:
    assert redact("none of the dummy texts", [word]) == "none of the dummy texts"
