"""What an operator ought to know about the keys at a start or a reload."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from ipaddress import ip_address

from llmd.config.api_keys import ApiKey
from llmd.config.settings import Settings

logger = logging.getLogger("llmd.daemon")


def warn_of_keys(settings: Settings, keys: Sequence[ApiKey]) -> None:
    """Say where others than this machine's users get in without a key, and which models of the file
    of keys are not served.
    """
    server = settings.server
    if not keys and server.uds is None and not _is_local(server.host):
        logger.warning(
            "everybody who reaches %s may use this daemon: it has no keys. Set LLMD_API_KEY, or "
            "make a file of keys (llmd key new NAME) and start with --keys-file",
            server.host,
        )
    for key in keys:
        for model in key.models or ():
            if model not in settings.models:
                logger.warning("the key %s may use %s, which is not served", key.name, model)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
