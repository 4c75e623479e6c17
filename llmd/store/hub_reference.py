"""The names that models have on a hub: org/repo[:QUANT]."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_NAME = r"[A-Za-z0-9_][\w.-]*"
_REFERENCE = re.compile(
    rf"(?P<owner>{_NAME})/(?P<name>{_NAME})(?::(?P<quant>[\w.-]+))?(?:/tree/main)?/?", re.ASCII
)
_HOSTS = ("hf.co", "huggingface.co", "www.huggingface.co")

LATEST = "latest"
"""The quant that tools write by themselves where none was given."""


@dataclass(frozen=True, slots=True)
class HubReference:
    """A model in a repository of a hub. Without a `quant`, the one that is taken by itself."""

    owner: str
    name: str
    quant: str | None = None

    @property
    def repo(self) -> str:
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        return f"{self.repo}:{self.quant}" if self.quant else self.repo


def parse_reference(source: str) -> HubReference | None:
    """What `source` names on a hub, as `org/repo[:QUANT]`, `hf.co/org/repo[:QUANT]` or the address
    of the repository's page; None where it names nothing there.
    """
    match = _REFERENCE.fullmatch(_without_host(source))
    # Two dashes stand for the slash in the names of the cache's directories.
    if match is None or ".." in match[0] or "--" in match["owner"] + match["name"]:
        return None
    quant = match["quant"]
    if quant is not None and quant.casefold() == LATEST:
        quant = None
    return HubReference(match["owner"], match["name"], quant)


def _without_host(source: str) -> str:
    mirror = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc
    source = re.sub(r"^https?://", "", source)
    for host in (*_HOSTS, mirror):
        if host and source.startswith(f"{host}/"):
            return source.removeprefix(f"{host}/")
    return source
