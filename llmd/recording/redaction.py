"""Keeping secrets out of what is written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

REDACTED = "[redacted]"

MIN_SECRET = 8
"""Characters. A shorter text is found in the middle of words, and is no key worth the name."""

_SECRET_FIELDS = frozenset({"authorization", "xapikey", "apikey", "accesstoken", "bearertoken"})


def redact(value: Any, secrets: Sequence[str]) -> Any:
    """JSON without `secrets`, wherever they stand in a text, and without the values of fields that
    are named as if they held some (servers of tools are told such). Raises RecursionError for what
    is nested very deep.
    """
    return _redact(value, [secret for secret in secrets if len(secret) >= MIN_SECRET])


def _redact(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, REDACTED)
        return value
    if isinstance(value, list):
        return [_redact(each, secrets) for each in value]
    if isinstance(value, dict):
        return {
            _redact(key, secrets): REDACTED
            if isinstance(each, str) and _is_secret(key)
            else _redact(each, secrets)
            for key, each in value.items()
        }
    return value


def _is_secret(name: str) -> bool:
    return name.lower().replace("-", "").replace("_", "") in _SECRET_FIELDS
