"""Telling requests apart in logs, here and at whoever sent them."""

from __future__ import annotations

import re
import secrets

from starlette.types import Scope

HEADER = b"x-request-id"

# What is safe in a header, a log line and a terminal; long enough for any id that is in use.
_VALID = re.compile(rb"[\w.:=+/@~-]{1,128}", re.ASCII)


def request_id_of(scope: Scope) -> str:
    """The id that the client or a proxy gave the request, if it is one, else a new one."""
    for name, value in scope["headers"]:
        if name == HEADER and _VALID.fullmatch(value):
            return str(value.decode("ascii"))
    return f"req_{secrets.token_hex(12)}"
