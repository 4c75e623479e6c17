"""Where huggingface_hub keeps bytes that several repositories have in common: its versions since 2
do so for files that came over Xet. A module of its own, as that library is slow to import.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import DeleteCacheStrategy


def sweep_blobs(cache: Path, blobs: Iterable[Path]) -> None:
    """Remove these blobs of repositories, and of the shared bytes those that none uses any more."""
    nothing: frozenset[Path] = frozenset()
    DeleteCacheStrategy(
        expected_freed_size=0,
        blobs=frozenset(blobs),
        refs=nothing,
        repos=nothing,
        snapshots=nothing,
        cache_dir=cache,
    ).execute()
