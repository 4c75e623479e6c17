"""What is settled before anybody looks at a request: where it was sent to, and from which web page.

A web page in a browser on this machine can send requests to 127.0.0.1, whoever wrote the page. Two
things keep it out of a daemon that listens there for its own user, and has no keys:

- the browser says in Host what name it looked up. A page that has its own name point to 127.0.0.1
  (DNS rebinding) gives itself away by that;
- it says in Origin where the page is from. Unless the operator lets that origin in, the browser
  shows the page no answer, and what would have changed something is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmd.api.errors import error_response
from llmd.config.settings import ServerSettings
from llmd.errors import Forbidden

PREFLIGHT_SECONDS = 600
"""How long a browser remembers what it may send."""

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Front:
    """Middleware: the path that a proxy puts before all routes, the Host check, and CORS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope["app"].state.llmd
        settings: ServerSettings = state.settings
        headers = Headers(scope=scope)
        root_path = settings.root_path
        if root_path and f"{scope['path']}/".startswith(f"{root_path}/"):
            scope["root_path"] = root_path
        if _is_foreign_host(scope, headers, settings):
            await error_response(_unknown_host(headers["host"]))(scope, receive, send)
            return
        origin = headers.get("origin")
        allowed = _allow_origin(origin, settings)
        if origin is None or allowed is None:
            if state.keys.is_empty and _is_foreign_page(origin, scope, headers, settings):
                await error_response(_unknown_origin(origin or ""))(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=204, headers=_preflight(headers, allowed))(
                scope, receive, send
            )
        else:
            await self._app(scope, receive, _sharing(send, allowed))


def _is_foreign_host(scope: Scope, headers: Headers, settings: ServerSettings) -> bool:
    """Whether a request to this very machine names another one."""
    server = scope.get("server")
    if server is None or "host" not in headers or "*" in settings.allowed_hosts:
        return False
    if not (_is_loopback(server[0]) and _is_loopback(settings.host)):
        return False
    # Names alone can be made to point here; an address is what it is.
    name = _name_of(headers["host"])
    allowed = ("", "localhost", *(host.lower() for host in settings.allowed_hosts))
    return not (name in allowed or name.endswith(".localhost") or _is_address(name))


def _is_foreign_page(
    origin: str | None, scope: Scope, headers: Headers, settings: ServerSettings
) -> bool:
    """Whether a page from elsewhere asks this machine to do something."""
    server = scope.get("server")
    if origin is None or scope["method"] in _READING or server is None:
        return False
    page = urlsplit(origin)
    is_local = _is_loopback(server[0]) and _is_loopback(settings.host)
    if page.scheme not in ("http", "https") or not is_local:
        # Desktop applications and extensions have schemes of their own, and no web page has.
        return False
    name = _name_of(page.netloc)
    if name.endswith(".localhost") or _is_loopback(name):
        return False
    return page.netloc.lower() != headers.get("host", "").lower()


def _allow_origin(origin: str | None, settings: ServerSettings) -> str | None:
    """What Access-Control-Allow-Origin says, None for nothing."""
    if "*" in settings.cors:
        return "*"
    return origin if origin is not None and origin in settings.cors else None


def _preflight(headers: Headers, allowed: str) -> dict[str, str]:
    answer = {
        "access-control-allow-origin": allowed,
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": headers.get("access-control-request-headers", "*"),
        "access-control-max-age": str(PREFLIGHT_SECONDS),
        "vary": "Origin, Access-Control-Request-Headers",
    }
    if headers.get("access-control-request-private-network") == "true":
        answer["access-control-allow-private-network"] = "true"
    return answer


def _sharing(send: Send, allowed: str) -> Send:
    # No cookies and no stored passwords: a page must bring the key itself.
    shared = [
        (b"access-control-allow-origin", allowed.encode("latin-1")),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"Origin"),
    ]

    def send_shared(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *shared]}
        return send(message)

    return send_shared


def _name_of(authority: str) -> str:
    """The host of HOST, HOST:PORT or [ADDRESS]:PORT."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.partition(":")[0].rstrip(".").lower()


@lru_cache(maxsize=256)
def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _unknown_host(host: str) -> Forbidden:
    return Forbidden(
        f"{host[:200]!r} is not a name of this machine. Send requests to http://localhost or "
        f"http://127.0.0.1, or start llmd with --allowed-hosts NAME."
    )


def _unknown_origin(origin: str) -> Forbidden:
    return Forbidden(
        f"web pages of {origin[:200]!r} may not use this daemon. Start llmd with --cors ORIGIN to "
        f"let them."
    )
