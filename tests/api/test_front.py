"""Which hosts and which web pages a daemon answers, and the path that a proxy puts before it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Message

from llmd.api.front import Front
from llmd.api.key_ring import KeyRing
from llmd.config.api_keys import ApiKey, digest_of
from llmd.config.settings import ServerSettings

HERE = ("127.0.0.1", 8080)
ELSEWHERE = ("192.0.2.7", 8080)


def ask(
    headers: dict[str, str],
    *,
    method: str = "POST",
    path: str = "/v1/models",
    server: tuple[str, int | None] | None = HERE,
    keys: KeyRing | None = None,
    **settings: Any,
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status and headers of the answer, which without a refusal is 200, and the scope inside."""
    inside: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        inside.update(scope)
        await Response()(scope, receive, send)

    state = SimpleNamespace(settings=ServerSettings(**settings), keys=keys or KeyRing())
    scope = {
        "type": "http", "method": method, "path": path, "server": server,
        "app": SimpleNamespace(state=SimpleNamespace(llmd=state)),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }  # fmt: skip
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("the body is nothing to it")

    asyncio.run(Front(app)(scope, receive, send))
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, inside


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "[::1]", ""]
    + ["192.168.1.5:8080", "ui.localhost", "localhost."],
)
def test_this_machine_is_asked_for_by_its_own_names_and_by_addresses(host: str) -> None:
    assert ask({"host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]
    + ["localhost@evil.example", "xn--", "évil"],
)
def test_a_name_that_somebody_made_point_here_is_refused(host: str) -> None:
    assert ask({"host": host})[0] == 403


def test_a_proxys_name_can_be_allowed() -> None:
    host = {"host": "LLM.example:443"}
    assert ask(host, allowed_hosts=("llm.Example",))[0] == 200
    assert ask(host, allowed_hosts=("other.example",))[0] == 403
    assert ask(host, allowed_hosts=("*",))[0] == 200


@pytest.mark.parametrize(
    ("server", "listens_at"),
    [
        (ELSEWHERE, "0.0.0.0"),
        (HERE, "0.0.0.0"),
        (("/run/llmd.sock", None), "127.0.0.1"),
        (None, ""),
    ],
)
def test_a_daemon_for_others_answers_to_every_name(server: Any, listens_at: str) -> None:
    settings: dict[str, Any] = {"host": listens_at} if listens_at else {}
    assert ask({"host": "evil.example"}, server=server, **settings)[0] == 200


def test_a_request_without_a_host_is_no_browsers() -> None:
    assert ask({})[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://evil.example:8080", "http://192.0.2.9"]
)
def test_a_web_page_from_elsewhere_changes_nothing_here(origin: str) -> None:
    headers = {"host": "127.0.0.1:8080", "origin": origin}
    assert ask(headers)[0] == 403
    status, answered, _ = ask(headers, method="GET")
    # The browser keeps what it reads from the page.
    assert status == 200 and not any(name.startswith("access-control") for name in answered)


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:3000", "http://ui.localhost"]
    + ["https://llm.example", "null", "file://", "app://obsidian.md", "vscode-webview://1f"]
    + ["chrome-extension://abc"],
)
def test_pages_of_this_machine_its_applications_and_its_own_pages_may(origin: str) -> None:
    headers = {"host": "llm.example", "origin": origin}
    assert ask(headers, allowed_hosts=("llm.example",))[0] == 200


def test_with_keys_a_page_must_bring_one_and_so_may_be_from_anywhere() -> None:
    ring = KeyRing([ApiKey(name="a", digest=digest_of("a"))])
    assert ask({"origin": "https://evil.example"}, keys=ring)[0] == 200


def test_without_cors_no_page_is_told_anything() -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"origin": "https://a.example", "access-control-request-method": "POST"}
        _, answered, _ = ask(headers, method=method)
        assert not any(name.startswith("access-control") for name in answered)


def test_a_preflight_is_answered_for_an_origin_that_is_let_in() -> None:
    headers = {
        "origin": "https://a.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
        "access-control-request-private-network": "true",
    }
    status, answered, inside = ask(headers, method="OPTIONS", cors=("https://a.example",))
    assert status == 204 and inside == {}
    assert answered["access-control-allow-origin"] == "https://a.example"
    assert answered["access-control-allow-headers"] == "authorization,content-type"
    assert answered["access-control-allow-methods"] == "GET, POST, DELETE"
    assert answered["access-control-allow-private-network"] == "true"
    assert "access-control-allow-credentials" not in answered


def test_a_page_that_is_let_in_may_read_answers_and_their_headers() -> None:
    status, answered, _ = ask({"origin": "https://a.example"}, cors=("https://a.example",))
    assert status == 200
    assert answered["access-control-allow-origin"] == "https://a.example"
    assert answered["access-control-expose-headers"] == "*"
    assert answered["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://b.example", "http://a.example", "https://a.example."])
def test_one_origin_is_not_another(origin: str) -> None:
    status, answered, _ = ask({"origin": origin}, cors=("https://a.example",))
    assert status == 403
    assert "access-control-allow-origin" not in answered


def test_a_star_lets_every_page_in() -> None:
    status, answered, _ = ask({"origin": "https://b.example"}, cors=("*",))
    assert status == 200 and answered["access-control-allow-origin"] == "*"


def test_cors_is_no_way_round_the_host_check() -> None:
    assert ask({"host": "evil.example", "origin": "https://evil.example"}, cors=("*",))[0] == 403


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/llm/v1/models", "/llm"), ("/llm", "/llm"), ("/v1/models", None), ("/llmx/a", None)],
)
def test_a_proxys_path_is_taken_off_where_it_is(path: str, expected: str | None) -> None:
    _, _, inside = ask({}, path=path, root_path="/llm")
    assert inside.get("root_path") == expected
