"""x-request-id, in and out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fake_server import FakeServer, fake_serving

from llmd.api.request_id import request_id_of

NEW = re.compile(r"req_[0-9a-f]{24}")
BODY: dict[str, Any] = {"prompt": "a", "max_tokens": 2}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with fake_serving() as server:
        yield server


def id_of(server: FakeServer, method: str, path: str, **given: Any) -> str:
    with server.live.client() as client:
        response = client.request(method, path, **given)
        (found,) = response.headers.get_list("x-request-id")
        return str(found)


@pytest.mark.parametrize("given", ["a", "7f9c2b1e-04d2", "trace:1/2=3+4@x~y.z", "x" * 128])
def test_an_id_that_is_given_comes_back(server: FakeServer, given: str) -> None:
    assert id_of(server, "GET", "/livez", headers={"x-request-id": given}) == given


@pytest.mark.parametrize("given", [b"", b"a b", b"a\tb", b'"a"', b"\xe4", b"x" * 129, b"\x1b[2J"])
def test_what_is_no_id_gets_a_new_one(given: bytes) -> None:
    assert NEW.fullmatch(request_id_of({"headers": [(b"x-request-id", given)]}))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/health", None),
        ("GET", "/nowhere", None),
        ("PUT", "/v1/models", None),
        ("POST", "/v1/completions", {"prompt": 1.5}),
        ("POST", "/v1/completions", BODY),
        ("POST", "/v1/completions", {**BODY, "stream": True}),
    ],
    ids=["probe", "404", "405", "400", "answer", "stream"],
)
def test_every_answer_has_one(
    server: FakeServer, method: str, path: str, body: dict[str, Any] | None
) -> None:
    assert NEW.fullmatch(id_of(server, method, path, json=body))


def test_a_crash_has_one_too() -> None:
    with fake_serving() as server:

        def crash(num_sequences: int) -> None:
            raise RuntimeError("out of tea")

        server.instance.client.check_room = crash  # type: ignore[method-assign]
        assert NEW.fullmatch(id_of(server, "POST", "/v1/completions", json=BODY))
