"""Who asks."""

from __future__ import annotations

from hashlib import blake2b

from starlette.requests import Request

# Not random: what was kept on disk for a tenant is to be found again after a restart.
_KEY = b"llmd tenant"


def tenant_of(request: Request) -> str:
    """A digest of the credential that came with a request, "" where none did: equal for equal
    credentials, also over a restart, and of no use to whoever finds it in a file or a log.
    """
    credential = _bearer_token(request) or request.headers.get("x-api-key", "").strip()
    if not credential:
        return ""
    return blake2b(credential.encode(), key=_KEY, digest_size=16).hexdigest()


def _bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
