"""Pulling a model: from its name on a hub to files in the cache, whole and checked."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress

from llmd.config.size_text import size_text
from llmd.errors import HubModelNotFound, HubUnreachable, ModelFileNotFound, NotEnoughDisk
from llmd.store.download import Download, num_bytes_here, partial_of
from llmd.store.hub import Hub, RemoteFile, RemoteRepo
from llmd.store.hub_cache import CachedRepo, hub_cache
from llmd.store.hub_reference import HubReference
from llmd.store.locate import find_stored
from llmd.store.pull_event import (
    Advanced,
    Chosen,
    Damaged,
    Finished,
    HubAway,
    PullEvent,
)
from llmd.store.quantization import RepoModel, find_models, find_projector, matching
from llmd.store.stored_model import StoredModel

MARGIN_BYTES = 64 * 2**20
"""What a pull leaves free on the disk."""


def pull(
    reference: HubReference,
    on_event: Callable[[PullEvent], None],
    *,
    hub: Hub | None = None,
    verify: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> StoredModel:
    """Get a model and its projector from the hub, and say where they are. With `verify`, files that
    are here already are read again and compared with the hub's checksums; without, their sizes
    are. When the hub cannot be reached and the model is here, it is taken as it is.

    Any thread, which it holds up. `on_event` is called from it; what it raises ends the pull.
    However a pull ends, and if by a kill, the next one goes on where it stopped. Raises PullFailed.
    """
    try:
        hub = hub or Hub()
        remote = hub.look_up(reference)
        model, paths = _choose(remote, reference)
        files = hub.describe(remote, paths)
    except HubUnreachable as error:
        return _without_hub(reference, error, on_event)
    repo = CachedRepo(hub_cache(), remote.reference.owner, remote.reference.name)
    meter = _Meter(on_event)
    download = Download(hub, remote, repo, on_event=on_event, on_size=meter.set, sleep=sleep)
    if verify:
        for file in files:
            if download.is_damaged(file):
                on_event(Damaged(file.path))
    num_bytes = sum(file.num_bytes for file in files)
    for file in files:
        meter.begin(file.path, _num_present(repo, remote, file))
    chosen = HubReference(repo.owner, repo.name, _quant_of(remote, model))
    projector = paths[len(model.files)] if len(paths) > len(model.files) else None
    on_event(Chosen(chosen, files, projector, remote.license, num_bytes, meter.total))
    _check_disk(repo, num_bytes - meter.total)
    for file in files:
        if download.get(file):
            on_event(Finished(file.path))
    _keep_commit(repo, remote.commit)
    return find_stored(chosen)


class _Meter:
    """How much is here of each file and of all, which never falls."""

    def __init__(self, on_event: Callable[[PullEvent], None]) -> None:
        self.total = 0
        self._sizes: dict[str, int] = {}
        self._on_event = on_event

    def begin(self, path: str, num_bytes: int) -> None:
        self._sizes[path] = num_bytes
        self.total += num_bytes

    def set(self, path: str, num_bytes: int) -> None:
        more = num_bytes - self._sizes[path]
        if more > 0:
            self._sizes[path] = num_bytes
            self.total += more
            self._on_event(Advanced(path, num_bytes, self.total))


def _choose(remote: RemoteRepo, reference: HubReference) -> tuple[RepoModel, list[str]]:
    """The model that is meant, and the files to get: its own, then its projector."""
    models = find_models(remote.paths)
    repo = remote.reference.repo
    if not models:
        raise HubModelNotFound(
            f"{repo} has no GGUF file. Look for a repository with GGUF files of the model, whose "
            f"names often end in -GGUF."
        )
    found = matching(models, reference.quant)
    if not found:
        there = ", ".join(dict.fromkeys(model.quant for model in models))
        raise HubModelNotFound(f"{repo} has no {reference.quant}. Choose one of these: {there}")
    if len(found) > 1:
        choices = ", ".join(f"{repo}:{model.stem}" for model in found)
        raise HubModelNotFound(
            f"{repo} has {len(found)} models of {found[0].quant}. Name one: {choices}"
        )
    (model,) = found
    if model.num_missing:
        raise HubModelNotFound(
            f"{repo} lacks {model.num_missing} parts of {model.stem}. Choose another quant."
        )
    projector = find_projector(remote.paths, model)
    return model, [*model.files, *([projector] if projector else [])]


def _quant_of(remote: RemoteRepo, model: RepoModel) -> str:
    """What names the model among those of its repository."""
    same = [other for other in find_models(remote.paths) if other.quant == model.quant]
    return model.quant if len(same) == 1 else model.stem


def _num_present(repo: CachedRepo, remote: RemoteRepo, file: RemoteFile) -> int:
    whole = num_bytes_here(repo, remote.commit, file)
    if whole is not None:
        return whole
    with suppress(OSError):
        partial = partial_of(repo, file).stat().st_size
        return partial if partial <= file.num_bytes else 0
    return 0


def _check_disk(repo: CachedRepo, num_bytes: int) -> None:
    place = repo.cache
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if num_bytes and num_bytes + MARGIN_BYTES > free:
        raise NotEnoughDisk(
            f"{repo.repo} needs {size_text(num_bytes)} more, and the disk of {repo.cache} has "
            f"{size_text(free)} free. Free some space (`llmd list` tells what is here, `llmd rm` "
            f"removes it), or set HF_HUB_CACHE to a directory on another disk."
        )


def _keep_commit(repo: CachedRepo, commit: str) -> None:
    """Only now, so that what was here before is found until the new is whole."""
    with suppress(OSError):
        repo.main.parent.mkdir(parents=True, exist_ok=True)
        new = repo.main.with_name(f"main.{os.getpid()}.tmp")
        new.write_text(commit, "utf-8")
        os.replace(new, repo.main)


def _without_hub(
    reference: HubReference, error: HubUnreachable, on_event: Callable[[PullEvent], None]
) -> StoredModel:
    try:
        stored = find_stored(reference)
    except ModelFileNotFound:
        raise error from None
    on_event(HubAway(stored.reference, error.message))
    return stored
