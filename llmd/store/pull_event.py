"""What happens in a pull, as values."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.store.hub import RemoteFile
from llmd.store.hub_reference import HubReference


@dataclass(frozen=True, slots=True)
class Chosen:
    """First: what will be here in the end, and how much of that is here already."""

    reference: HubReference
    """With its quant."""
    files: tuple[RemoteFile, ...]
    projector: str | None
    """The one of `files` with which the model sees or hears."""
    license: str | None
    num_bytes: int
    num_present: int
    """Bytes that need not come any more."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """Bytes of a file have come. `num_done` and `total_done` never fall within a pull; they count
    what was here before as well.
    """

    path: str
    num_done: int
    total_done: int


@dataclass(frozen=True, slots=True)
class Joined:
    """Another process is downloading this file; the pull goes on with what that one gets."""

    path: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The transfer broke off, and goes on in `delay` seconds."""

    path: str
    reason: str
    delay: float


@dataclass(frozen=True, slots=True)
class Checking:
    """Bytes that are here already are read, for their checksum."""

    path: str
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file that was here is not what the hub has; it was removed, and comes again."""

    path: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A file is here, whole and checked."""

    path: str


@dataclass(frozen=True, slots=True)
class HubAway:
    """The hub cannot be asked, and the model is here, so it is taken as it is."""

    reference: HubReference
    reason: str


PullEvent = Chosen | Advanced | Joined | Interrupted | Checking | Damaged | Finished | HubAway
