"""Models in a cache of huggingface_hub, as that library lays them down."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from llmd.store.hub_cache import CachedRepo

COMMIT = "c0ffee" + "0" * 34


def put_in_cache(
    cache: Path, name: str, files: dict[str, bytes], *, commit: str = COMMIT
) -> CachedRepo:
    """Snapshot `commit` of a repository, as the newest one."""
    owner, _, own = name.partition("/")
    repo = CachedRepo(cache, owner, own)
    for path, data in files.items():
        blob = repo.blobs / hashlib.sha256(data).hexdigest()
        link = repo.snapshot(commit) / path
        for directory in (blob.parent, link.parent, repo.main.parent):
            directory.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.symlink_to(os.path.relpath(blob, link.parent))
    repo.main.write_text(commit)
    return repo
