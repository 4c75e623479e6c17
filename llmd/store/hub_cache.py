"""The cache of huggingface_hub on this machine, which other tools share. Reading it needs neither
that library nor a network.

    models--org--repo/
      refs/main                     the commit that was the newest at the last pull
      snapshots/COMMIT/FILE.gguf    a link to its blob; where there are no links, the file itself
      blobs/CHECKSUM                a file's bytes; itself a link where repositories share them
      blobs/CHECKSUM.incomplete     what there is of a file so far
    .locks/models--org--repo/CHECKSUM.lock   held by who writes that blob
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INCOMPLETE = ".incomplete"

_PREFIX, _SEPARATOR = "models--", "--"


@dataclass(frozen=True, slots=True)
class CachedRepo:
    """What the cache has of one repository; possibly nothing. The files may change at any time, as
    other programs use them too.
    """

    cache: Path
    owner: str
    name: str

    @property
    def repo(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def directory(self) -> Path:
        return self.cache / f"{_PREFIX}{self.owner}{_SEPARATOR}{self.name}"

    @property
    def blobs(self) -> Path:
        return self.directory / "blobs"

    @property
    def main(self) -> Path:
        """Where the commit of the last pull is kept."""
        return self.directory / "refs" / "main"

    @property
    def locks(self) -> Path:
        return self.cache / ".locks" / self.directory.name

    def snapshot(self, commit: str) -> Path:
        return self.directory / "snapshots" / commit

    def snapshots(self) -> list[Path]:
        """The one of the last pull first, then the newest first."""
        try:
            found = [path for path in (self.directory / "snapshots").iterdir() if path.is_dir()]
        except OSError:
            return []
        try:
            main = self.main.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            main = ""
        return sorted(found, key=lambda path: (path.name == main, _modified(path)), reverse=True)

    def incomplete(self) -> list[Path]:
        """What unfinished downloads have left."""
        return sorted(self.blobs.glob(f"*{INCOMPLETE}"))


def hub_cache(environ: Mapping[str, str] | None = None) -> Path:
    """The cache's directory, which need not be there: as HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME
    say, read as huggingface_hub reads them.
    """
    environ = os.environ if environ is None else environ
    given = environ.get("HF_HUB_CACHE", environ.get("HUGGINGFACE_HUB_CACHE"))
    if given is None:
        home = environ.get("HF_HOME")
        if home is None:
            base = environ.get("XDG_CACHE_HOME", os.path.join("~", ".cache"))
            home = os.path.join(base, "huggingface")
        given = os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(given)))


def cached_repos(cache: Path) -> list[CachedRepo]:
    """The repositories that hold models, by name."""
    try:
        names = sorted(os.listdir(cache))
    except OSError:
        return []
    repos = []
    for name in names:
        owner, found, rest = name.removeprefix(_PREFIX).partition(_SEPARATOR)
        if found and name.startswith(_PREFIX) and owner and rest:
            repos.append(CachedRepo(cache, owner, rest))
    return repos


def find_repo(cache: Path, repo: str) -> CachedRepo:
    """The repository of that name, in capitals or not, as hubs take it either way."""
    owner, _, name = repo.partition("/")
    exact = CachedRepo(cache, owner, name)
    if exact.directory.is_dir():
        return exact
    for found in cached_repos(cache):
        if found.repo.casefold() == repo.casefold():
            return found
    return exact


def files_in(snapshot: Path) -> dict[str, Path]:
    """The .gguf files of a snapshot by their path in the repository, those too whose bytes are
    gone.
    """
    return {
        path.relative_to(snapshot).as_posix(): path
        for path in sorted(snapshot.rglob("*"))
        if path.suffix.lower() == ".gguf" and (path.is_symlink() or path.is_file())
    }


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
