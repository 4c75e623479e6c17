"""Whose requests are whose."""

from __future__ import annotations

from hashlib import blake2b

from starlette.requests import Request

# Not random: what was kept on disk for a tenant is to be found again after a restart.
_KEY = b"llmd tenant"


def tenant_of(request: Request) -> str:
    """Who asks, as a digest that holds over restarts and is of no use to whoever finds it in a file
    or a log. Where keys are configured it is the key's own; else one of whatever credential came
    with the request, "" where none did.
    """
    caller = request.scope.get("llmd.caller")
    if caller is not None:
        return str(caller.tenant)
    secret = _bearer_token(request) or request.headers.get("x-api-key", "").strip()
    return secret_tenant(secret) if secret else ""


def secret_tenant(secret: str) -> str:
    """The tenant of a key without a name."""
    return blake2b(secret.encode(), key=_KEY, digest_size=16).hexdigest()


def name_tenant(name: str) -> str:
    """The tenant of a key with a name, whatever its secret is at the time."""
    return blake2b(name.encode(), key=_KEY, digest_size=16, person=b"name").hexdigest()


def _bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
