"""One file from a hub into the cache: taken up where an earlier download ended, and checked."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llmd.errors import NotEnoughDisk, PullFailed
from llmd.store.blob_lock import POLL_INTERVAL, blob_lock
from llmd.store.checksum import Checksum, blocks_of
from llmd.store.hub import Hub, RemoteFile, RemoteRepo, TransferBroken
from llmd.store.hub_cache import INCOMPLETE, CachedRepo
from llmd.store.pull_event import Checking, Interrupted, Joined

NUM_RETRIES = 5
"""How often in a row a transfer is taken up again without a single byte that came."""


class Download:
    """Gets the files of a repository into its place in the cache, one after the other. One thread,
    which it holds up.

    `on_event` is told what happens, `on_size(path, num_bytes)` how much of a file is here. What
    they raise ends the download, and loses nothing of it.
    """

    def __init__(
        self,
        hub: Hub,
        remote: RemoteRepo,
        repo: CachedRepo,
        *,
        on_event: Callable[[Checking | Interrupted | Joined], None],
        on_size: Callable[[str, int], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._hub = hub
        self._remote = remote
        self._repo = repo
        self._on_event = on_event
        self._on_size = on_size
        self._sleep = sleep

    def get(self, file: RemoteFile) -> bool:
        """Until the file is here and checked. Bytes that another process downloads at the same time
        are waited for. Returns whether there was anything to do. Raises PullFailed.
        """
        if _has_size(self._repo.snapshot(self._remote.commit) / file.path, file.num_bytes):
            return False
        try:
            with blob_lock(self._repo.locks / f"{file.checksum}.lock", self._waiting(file)):
                if num_bytes_here(self._repo, self._remote.commit, file) is None:
                    self._download(file)
                self._on_size(file.path, file.num_bytes)
                _link(self._repo, self._remote.commit, file)
        except BrokenPipeError:
            # Of a listener whose reader has gone: no file raises it.
            raise
        except OSError as error:
            raise _explain(error, self._repo) from error
        return True

    def is_damaged(self, file: RemoteFile) -> bool:
        """Whether what is here of a whole file is not what the hub has; it is removed then."""
        place = _place(self._repo, self._remote.commit, file)
        if place is None:
            return False
        self._on_event(Checking(file.path, file.num_bytes))
        checksum = Checksum(file.checksum, file.num_bytes)
        try:
            for block in blocks_of(place, file.num_bytes):
                checksum.update(block)
            if not checksum.is_right():
                place.unlink()
        except OSError as error:
            raise _explain(error, self._repo) from error
        return not checksum.is_right()

    def _waiting(self, file: RemoteFile) -> Callable[[], None]:
        told = False

        def wait() -> None:
            nonlocal told
            if not told:
                self._on_event(Joined(file.path))
                told = True
            with suppress(OSError):
                self._on_size(file.path, partial_of(self._repo, file).stat().st_size)
            self._sleep(POLL_INTERVAL)

        return wait

    def _download(self, file: RemoteFile) -> None:
        partial = partial_of(self._repo, file)
        partial.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what was written outlives a process that is killed.
        with open(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b", 0) as out:
            num_here = os.fstat(out.fileno()).st_size
            if num_here > file.num_bytes:
                num_here = out.truncate(0)
            checksum = Checksum(file.checksum, file.num_bytes)
            if num_here:
                self._on_event(Checking(file.path, num_here))
                for block in blocks_of(partial, num_here):
                    checksum.update(block)
                out.seek(num_here)
            num_retries = 0
            while num_here < file.num_bytes:
                before = num_here
                try:
                    num_here = self._transfer(file, num_here, out.write, checksum)
                except TransferBroken as broken:
                    num_here = out.tell()
                    num_retries = 0 if num_here > before else num_retries + 1
                    if num_retries > NUM_RETRIES:
                        raise broken.fault from broken
                    delay = max(broken.delay, float(2**num_retries))
                    self._on_event(Interrupted(file.path, broken.fault.message, delay))
                    self._sleep(delay)
        if not checksum.is_right():
            partial.unlink()
            raise PullFailed(
                f"{file.path} came damaged: it does not have the checksum that the hub tells. It "
                f"was removed; run it again."
            )
        os.replace(partial, self._repo.blobs / file.checksum)

    def _transfer(
        self,
        file: RemoteFile,
        offset: int,
        write: Callable[[bytes], int],
        checksum: Checksum,
    ) -> int:
        """Returns how many bytes of the file are here. Raises TransferBroken, also where the server
        ends before the end.
        """
        with self._hub.stream(self._remote, file, offset) as chunks:
            for chunk in chunks:
                if offset + len(chunk) > file.num_bytes:
                    raise PullFailed(
                        f"{file.path} is longer than {self._hub.endpoint} tells. Run it again."
                    )
                written = 0
                while written < len(chunk):
                    written += write(chunk[written:] if written else chunk)
                checksum.update(chunk)
                offset += len(chunk)
                self._on_size(file.path, offset)
        if offset < file.num_bytes:
            raise TransferBroken(
                PullFailed(f"{file.path} broke off before its end. Check the network connection.")
            )
        return offset


def partial_of(repo: CachedRepo, file: RemoteFile) -> Path:
    """Where the bytes of a file are until it is whole."""
    return repo.blobs / f"{file.checksum}{INCOMPLETE}"


def num_bytes_here(repo: CachedRepo, commit: str, file: RemoteFile) -> int | None:
    """None where the whole file is not here."""
    return file.num_bytes if _place(repo, commit, file) else None


def _place(repo: CachedRepo, commit: str, file: RemoteFile) -> Path | None:
    """Where the whole file is; a blob, or where there are no links the snapshot's own."""
    for path in (repo.blobs / file.checksum, repo.snapshot(commit) / file.path):
        if _has_size(path, file.num_bytes):
            return path
    return None


def _has_size(path: Path, num_bytes: int) -> bool:
    try:
        return path.stat().st_size == num_bytes
    except OSError:
        return False


def _link(repo: CachedRepo, commit: str, file: RemoteFile) -> None:
    """Put the file into its snapshot, as huggingface_hub does. Raises OSError."""
    link, blob = repo.snapshot(commit) / file.path, repo.blobs / file.checksum
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(os.path.relpath(blob, link.parent))
    except FileExistsError:
        # Another tool was quicker.
        pass
    except OSError:
        # A file system without links.
        os.replace(blob, link)


def _explain(error: OSError, repo: CachedRepo) -> PullFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NotEnoughDisk(
            f"the disk of {repo.cache} is full. Free some space, or set HF_HUB_CACHE to a "
            f"directory on another one, and run it again: it goes on from here."
        )
    return PullFailed(
        f"cannot write to {repo.cache}: {error.strerror or error}. Check its permissions, or set "
        f"HF_HUB_CACHE to another directory."
    )
