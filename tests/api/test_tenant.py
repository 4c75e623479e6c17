"""Whose request is whose, by the credential that comes with it."""

from __future__ import annotations

import pytest
from fake_server import fake_serving
from starlette.requests import Request

from llmd.api.tenant import tenant_of
from llmd.engine.request import Request as EngineRequest


def tenant(**headers: str) -> str:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return tenant_of(Request({"type": "http", "headers": raw}))


def test_without_a_credential_there_is_no_name() -> None:
    assert tenant() == ""


@pytest.mark.parametrize("value", ["", " ", "Bearer", "Bearer  ", "Basic YTpi", "secret"])
def test_what_is_no_credential_counts_as_none(value: str) -> None:
    assert tenant(authorization=value) == tenant(x_api_key=" ") == ""


def test_a_key_is_one_tenant_however_it_comes() -> None:
    name = tenant(authorization="Bearer secret")
    assert name == tenant(authorization="bearer   secret ") == tenant(x_api_key=" secret")


def test_the_bearer_wins_over_the_other_header() -> None:
    assert tenant(authorization="Bearer a", x_api_key="b") == tenant(x_api_key="a")


def test_keys_are_told_apart_and_not_told() -> None:
    names = {tenant(x_api_key=key) for key in ("secret", "Secret", "secret2", "\u00e9")}
    assert len(names) == 4
    assert all("ecret" not in name and len(name) == 32 for name in names)


def test_a_name_holds_over_restarts_and_versions() -> None:
    # What lies on disk is found by it.
    assert tenant(x_api_key="secret") == "73f5be05f0e3a8ac2a2473a953f706db"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
        ("/v1/completions", {"prompt": "hello"}),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_the_engine_learns_whose_request_it_is(
    path: str, body: dict[str, object], stream: bool
) -> None:
    seen: list[EngineRequest] = []
    with fake_serving() as server, server.live.client() as client:
        submit = server.instance.client.submit

        def record(request: EngineRequest) -> object:
            seen.append(request)
            return submit(request)

        server.instance.client.submit = record  # type: ignore
        body = {**body, "max_tokens": 1, "stream": stream}
        for headers in ({"authorization": "Bearer a"}, {"x-api-key": "b"}, {}):
            client.post(path, json=body, headers=headers).raise_for_status()
    assert [request.tenant for request in seen] == [
        tenant(x_api_key="a"),
        tenant(x_api_key="b"),
        "",
    ]
    assert len({request.scope for request in seen}) == 3
