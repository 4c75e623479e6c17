"""The models of hubs that are on this machine: telling what they are, and removing them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from llmd.errors import InvalidRequest, ModelLoadError, ModelNotFound
from llmd.store.blob_lock import is_locked
from llmd.store.hub_cache import CachedRepo, cached_repos, find_repo, hub_cache
from llmd.store.hub_reference import HubReference
from llmd.store.model_file import ModelFile, read_model_file
from llmd.store.quantization import find_models
from llmd.store.stored_model import StoredModel, several, stored_models, which

WEIGHTS_BYTES = 2**20
"""From here on a file that is no GGUF is taken for the weights of another tool."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model that is here."""

    stored: StoredModel
    file: ModelFile | None
    """None for one that is not whole, or damaged."""
    fault: str | None
    """What is wrong with it, with its cure."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What pulls of a repository have left that did not come to their end."""

    repo: str
    num_bytes: int


def catalog() -> Iterator[CatalogEntry]:
    """Every model that was pulled, by llmd or by another tool, by name. Reading the header of a
    large vocabulary takes a tenth of a second.
    """
    for repo in cached_repos(hub_cache()):
        for stored in stored_models(repo):
            yield _entry(stored)


def unfinished() -> list[Unfinished]:
    """What interrupted pulls hold of the disk; the next pull of the same uses it."""
    sizes = [
        Unfinished(repo.repo, sum(_size(path) for path in repo.incomplete()))
        for repo in cached_repos(hub_cache())
    ]
    return [left for left in sizes if left.num_bytes]


def remove(reference: HubReference) -> tuple[list[HubReference], int]:
    """Remove a model; without a quant, all models of its repository and what unfinished pulls left.
    What other snapshots or models still use stays, and so does what is no GGUF and has weight: it
    is of other tools. Returns what was removed and the bytes given back. Raises ModelNotFound, and
    InvalidRequest while it is pulled.
    """
    repo = find_repo(hub_cache(), reference.repo)
    models = stored_models(repo)
    found = which(models, reference.quant) if reference.quant else models
    files, partials = list(_files_of(repo)), repo.incomplete()
    if not found and (reference.quant or not partials):
        raise ModelNotFound(f"there is no {reference} here. {_nearest(reference)}")
    if reference.quant and len(found) > 1:
        raise ModelNotFound(several(found))
    if any(map(is_locked, repo.locks.glob("*.lock"))):
        raise InvalidRequest(f"{repo.repo} is being pulled. Stop that first, then remove it.")
    if reference.quant:
        gone = {path for stored in found for path in _links_of(repo, stored)}
    else:
        gone = {path for path in files if path.suffix.lower() == ".gguf"}
    stay = [path for path in files if path not in gone]
    names = [stored.reference for stored in found]
    if not any(map(_weighs, stay)) and not (reference.quant and partials):
        return names, _remove_repo(repo)
    num_bytes = _remove_links(repo, gone, stay)
    if not reference.quant:
        num_bytes += sum(map(_size, partials))
        for path in partials:
            path.unlink(missing_ok=True)
    return names, num_bytes


def _entry(stored: StoredModel) -> CatalogEntry:
    if stored.fault:
        fault = f"{stored.fault}. Run: llmd pull {stored.reference}"
        return CatalogEntry(stored, None, fault)
    try:
        return CatalogEntry(stored, read_model_file(stored.path), None)
    except ModelLoadError:
        fault = f"its file is no whole model. Run: llmd pull {stored.reference} --verify"
        return CatalogEntry(stored, None, fault)


def _links_of(repo: CachedRepo, stored: StoredModel) -> Iterator[Path]:
    """The model's files in every snapshot."""
    for snapshot in repo.snapshots():
        for name in stored.model.files:
            if os.path.lexists(snapshot / name):
                yield snapshot / name


def _files_of(repo: CachedRepo) -> Iterator[Path]:
    for snapshot in repo.snapshots():
        for path in snapshot.rglob("*"):
            if path.is_symlink() or path.is_file():
                yield path


def _weighs(path: Path) -> bool:
    """Whether somebody would miss the file when the repository has no model left."""
    if path.suffix.lower() == ".gguf":
        return bool(find_models([path.name]))
    return _size(path) >= WEIGHTS_BYTES


def _blob_of(link: Path) -> Path:
    """The file that holds the bytes of a snapshot's file, or links to where repositories share
    them.
    """
    with suppress(OSError):
        return Path(os.path.abspath(link.parent / os.readlink(link)))
    return link


def _remove_links(repo: CachedRepo, links: Iterable[Path], others: Iterable[Path]) -> int:
    used = {_blob_of(path) for path in others}
    blobs = {_blob_of(link) for link in links} - used
    num_bytes = sum(_size(blob) for blob in blobs if not blob.is_symlink())
    # The links first: what is cut short in between must not leave one that leads nowhere.
    for link in links:
        link.unlink(missing_ok=True)
    shared = [blob for blob in blobs if blob.is_symlink()]
    for blob in blobs.difference(shared):
        blob.unlink(missing_ok=True)
    return num_bytes + _sweep(repo, blobs=shared)


def _remove_repo(repo: CachedRepo) -> int:
    blobs = list(repo.blobs.iterdir()) if repo.blobs.is_dir() else []
    own = [path for path in _files_of(repo) if not path.is_symlink()]
    num_bytes = sum(_size(path) for path in (*blobs, *own) if not path.is_symlink())
    shared = [blob for blob in blobs if blob.is_symlink()]
    num_bytes += _sweep(repo, blobs=shared)
    shutil.rmtree(repo.directory)
    return num_bytes


def _sweep(repo: CachedRepo, blobs: list[Path]) -> int:
    """Remove blobs that lead to where huggingface_hub lets repositories share bytes, and the bytes
    that no other one uses; it alone knows which those are.
    """
    if not blobs:
        return 0
    targets = {path.resolve() for path in blobs}
    sizes = {target: _size(target) for target in targets}
    from llmd.store.shared_blobs import sweep_blobs

    sweep_blobs(repo.cache, blobs)
    return sum(size for target, size in sizes.items() if not target.exists())


def _nearest(reference: HubReference) -> str:
    repos = cached_repos(hub_cache())
    names = [repo.repo for repo in repos]
    names += [str(stored.reference) for repo in repos for stored in stored_models(repo)]
    near = get_close_matches(str(reference), names, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else "`llmd list` tells what is here."


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
