"""Which session of its client a request belongs to."""

from __future__ import annotations

from starlette.requests import Request

SESSION_HEADER = "x-llmd-session"


def session_of(request: Request, field: str | None) -> str | None:
    """The session that a request names, in its header or in its body's field `session`; None where
    it is one of its own. Nothing else says so: a key, an address and a connection may be shared,
    and nobody may end what another one waits for.
    """
    return request.headers.get(SESSION_HEADER, "").strip() or field or None
