"""The hub: what is in a repository, and its bytes. The door to huggingface_hub, whose session,
tokens, endpoint and errors are used. It takes a third of a second to import, so only what talks to
a hub imports this module.

Its own downloads are not used: in its newer versions an interrupted one begins again, as each has
a temporary file of its own. And over Xet nothing of a file is kept but the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from llmd import __version__
from llmd.errors import HubModelNotFound, PullFailed
from llmd.store.hub_fault import TRANSPORT_ERRORS, explain, is_passing, not_a_hub
from llmd.store.hub_reference import HubReference, parse_reference

_CHECKSUM = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
_COMMIT = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository."""

    path: str
    num_bytes: int
    checksum: str
    """Its SHA-256 (64 digits), the id that git has for it (40), or what else a mirror calls it. The
    cache names its bytes so."""


@dataclass(frozen=True, slots=True)
class RemoteRepo:
    """A repository as it is now."""

    reference: HubReference
    """As the hub itself spells its name; without a quant."""
    commit: str
    license: str | None
    paths: tuple[str, ...]
    known: tuple[RemoteFile, ...]
    """Those of its files of which the hub told size and checksum right away."""


class TransferBroken(Exception):
    """The transfer ended early; it may be taken up again after `delay` seconds at least."""

    def __init__(self, fault: PullFailed, delay: float = 0.0) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.delay = delay


class Hub:
    """A hub at `endpoint`, as the one with `token`; left out, both are huggingface_hub's:
    HF_ENDPOINT and HF_TOKEN, or what `hf auth login` keeps. Any thread. All methods raise
    PullFailed.
    """

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        # None means the token that the library finds by itself.
        self._token = token
        self._headers = build_hf_headers(
            token=token, library_name="llmd", library_version=__version__
        )
        if not re.match(r"https?://[^/]", self.endpoint):
            raise not_a_hub(self.endpoint)

    def look_up(self, reference: HubReference) -> RemoteRepo:
        """What the repository has, at its newest commit."""
        api = HfApi(
            endpoint=self.endpoint,
            token=self._token,
            library_name="llmd",
            library_version=__version__,
        )
        with self._explaining(reference.repo):
            try:
                info = api.model_info(
                    reference.repo, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
                )
            # What the library raises on JSON that is none, or not a hub's.
            except (KeyError, TypeError, AttributeError, JSONDecodeError) as error:
                raise not_a_hub(self.endpoint) from error
        found = parse_reference(str(info.id))
        if found is None or not _COMMIT.fullmatch(str(info.sha)):
            raise not_a_hub(self.endpoint)
        siblings = list(info.siblings or ())
        known = tuple(file for file in map(_file_of, siblings) if file is not None)
        paths = tuple(str(sibling.rfilename) for sibling in siblings)
        return RemoteRepo(found, str(info.sha), _license_of(info), paths, known)

    def describe(self, repo: RemoteRepo, paths: Sequence[str]) -> tuple[RemoteFile, ...]:
        """Size and checksum of some of its files. Mirrors that do not list them are asked for
        each.
        """
        known = {file.path: file for file in repo.known}
        files = []
        for path in paths:
            file = known.get(path) or self._ask(repo, path)
            unsafe = PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
            if unsafe or not _CHECKSUM.fullmatch(file.checksum) or file.num_bytes < 0:
                raise PullFailed(
                    f"{self.endpoint} names a file or a checksum that cannot be one ({path!r}). "
                    f"Set HF_ENDPOINT to another hub."
                )
            files.append(file)
        return tuple(files)

    @contextmanager
    def stream(self, repo: RemoteRepo, file: RemoteFile, offset: int) -> Iterator[Iterator[bytes]]:
        """The file's bytes from byte `offset` on, as they come. Also raises TransferBroken, within
        the iterator too, where it is worth trying again.
        """
        url = self._url(repo, file.path)
        # Always by way of the hub: the addresses that it redirects to expire.
        headers = self._headers | {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with (
            self._explaining(repo.reference.repo, file.path, breaks=True),
            get_session().stream(
                "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
            ) as response,
        ):
            hf_raise_for_status(response)
            start = _start_of(response)
            if start > offset:
                raise not_a_hub(self.endpoint)
            yield _without_first(response.iter_raw(), offset - start)

    def _ask(self, repo: RemoteRepo, path: str) -> RemoteFile:
        with self._explaining(repo.reference.repo, path):
            found = get_hf_file_metadata(
                self._url(repo, path), headers=self._headers, token=self._token
            )
        if found.size is None or found.etag is None:
            raise not_a_hub(self.endpoint)
        return RemoteFile(path, found.size, found.etag)

    def _url(self, repo: RemoteRepo, path: str) -> str:
        return hf_hub_url(repo.reference.repo, path, revision=repo.commit, endpoint=self.endpoint)

    @contextmanager
    def _explaining(self, repo: str, path: str = "", *, breaks: bool = False) -> Iterator[None]:
        """What the library raises, in our words; with `breaks` as TransferBroken if it may pass."""
        try:
            yield
        except TRANSPORT_ERRORS as error:
            fault = explain(
                error, self.endpoint, repo, path, has_token="authorization" in self._headers
            )
            if breaks and is_passing(error):
                raise TransferBroken(fault, _retry_after(error)) from error
            raise fault from error
        except HFValidationError as error:
            raise HubModelNotFound(
                f"{repo} cannot be the name of a repository. Check the name."
            ) from error


def _license_of(info: Any) -> str | None:
    """From the model's card, else from its tags."""
    card = info.card_data
    told = card.get("license") if card is not None else None
    if told == "other":
        told = card.get("license_name") or told
    if isinstance(told, list):
        told = ", ".join(map(str, told))
    for tag in map(str, info.tags or ()):
        if not told and tag.startswith("license:"):
            told = tag.removeprefix("license:")
    return str(told) if told else None


def _file_of(sibling: RepoSibling) -> RemoteFile | None:
    """None where the hub did not tell all of it, or not as it should."""
    lfs = sibling.lfs
    num_bytes, checksum = (lfs.size, lfs.sha256) if lfs else (sibling.size, sibling.blob_id)
    if not isinstance(num_bytes, int) or not isinstance(checksum, str):
        return None
    return RemoteFile(str(sibling.rfilename), num_bytes, checksum)


def _start_of(response: Any) -> int:
    """The byte that an answer begins with: the first one where the server knows no ranges."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match and response.status_code == 206 else 0


def _without_first(chunks: Iterator[bytes], num_bytes: int) -> Iterator[bytes]:
    for chunk in chunks:
        if num_bytes >= len(chunk):
            num_bytes -= len(chunk)
            continue
        yield chunk[num_bytes:] if num_bytes else chunk
        num_bytes = 0


def _retry_after(error: Exception) -> float:
    """Seconds that the server asks for, within reason."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    value = error.response.headers.get("Retry-After", "")
    return min(float(value), 60.0) if value.isdigit() else 0.0
