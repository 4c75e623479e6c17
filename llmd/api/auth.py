"""Who may ask for what."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmd.api.draining import PROBES
from llmd.api.errors import error_response
from llmd.api.key_ring import KeyRing, KeyUse, Slot
from llmd.api.tenant import name_tenant, secret_tenant
from llmd.errors import Forbidden, InvalidApiKey, LlmdError
from llmd.serving.account import current_account

OPEN_PATHS = PROBES - {"/metrics"}
"""Supervisors and load balancers have no key."""

_ADMIN_PATHS = frozenset({"/models/load", "/models/unload", "/reload", "/slots", "/metrics"})

_NO_KEY = (
    "You didn't provide an API key. Send it as a header, Authorization: Bearer YOUR_KEY or "
    "x-api-key: YOUR_KEY."
)
_WRONG_KEY = (
    "Incorrect API key provided. Ask whoever runs this llmd for one; `llmd key new NAME` makes it."
)


class Caller:
    """Who sent a request, where keys are configured: its key, whose state is whose, and the request
    as one of the key's that are under way.
    """

    def __init__(self, use: KeyUse, secret: str, slot: Slot | None) -> None:
        self.key = use.key
        # A secret that has a name may be changed for another; what is stored stays its owner's.
        self.tenant = name_tenant(use.key.name) if use.key.is_named else secret_tenant(secret)
        self.slot = slot
        """None for requests that do no work, which are not counted."""


class Authentication:
    """Middleware: lets requests through that bring a key, within what it allows. Nothing of the
    body of any other is read. Where no keys are configured it lets everything through.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ring: KeyRing = scope["app"].state.llmd.keys
        path = _route(scope)
        if ring.is_empty or path in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            use, secret = _identify(scope, ring)
        except LlmdError as error:
            # Strangers must not push what others sent out of the ring of recordings.
            current_account().recorder = None
            await error_response(error)(scope, receive, send)
            return

        # No coroutine of its own: it is called for every piece of a stream.
        def send_counted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *use.headers()]}
            return send(message)

        slot = None
        try:
            if _is_admin(scope["method"], path):
                _check_admin(use, path)
            elif scope["method"] == "POST":
                slot = use.take()
        except LlmdError as error:
            await error_response(error)(scope, receive, send_counted)
            return
        scope["llmd.caller"] = Caller(use, secret, slot)
        try:
            await self._app(scope, receive, send_counted)
        finally:
            if slot is not None:
                slot.release()


def secrets_of(headers: Headers) -> list[str]:
    """What a request brings that may be a key. Some clients fill both headers, and one of them with
    a placeholder.
    """
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    found = [token.strip()] if scheme.lower() == "bearer" else []
    found.append(headers.get("x-api-key", "").strip())
    return [secret for secret in found if secret]


def _identify(scope: Scope, ring: KeyRing) -> tuple[KeyUse, str]:
    """Raises InvalidApiKey."""
    secrets = secrets_of(Headers(scope=scope))
    if not secrets:
        raise InvalidApiKey(_NO_KEY)
    matches = [(ring.find(_as_sent(secret)), secret) for secret in secrets]
    for use, secret in matches:
        if use is not None:
            current_account().key_name = use.key.name
            return use, secret
    raise InvalidApiKey(_WRONG_KEY)


def _as_sent(secret: str) -> str:
    # Headers are read as Latin-1, whatever they were.
    return secret.encode("latin-1").decode("utf-8", "surrogateescape")


def _route(scope: Scope) -> str:
    path: str = scope["path"]
    path = path.removeprefix(scope.get("root_path", ""))
    return path.removeprefix("/v1")


def _is_admin(method: str, path: str) -> bool:
    return path in _ADMIN_PATHS or (path == "/props" and method == "POST")


def _check_admin(use: KeyUse, path: str) -> None:
    """Raises Forbidden."""
    if not use.key.admin:
        raise Forbidden(
            f"the key {use.key.name} may not use {path}. Use one that has `admin = true` in the "
            f"file of keys, or that llmd was started with (--api-key)."
        )
