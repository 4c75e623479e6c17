"""The directory of recordings: a ring of files, the oldest of which go."""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from pathlib import Path

from llmd.errors import ConfigError

_NAME = re.compile(r"\d{8}T\d{12}Z-[\w-]+\.json", re.ASCII)
_UNFINISHED = re.compile(r"\.\d{8}T\d{12}Z-[\w-]+\.json\.\d+", re.ASCII)

MAX_ID = 64
"""Characters of a request's id that its file's name has."""


class RecordingDirectory:
    """Files that its user alone may read. One thread at a time.

    Others may put files of other names beside them: these are neither counted nor removed.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Raises ConfigError where the directory cannot be made or used, or is open to others."""
        self.path = path
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._files: deque[tuple[str, int]] = deque()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(
                    f"others may look into {path}, where --record would write what is asked and "
                    f"answered. Run chmod 700 on it, or name a directory that is not there yet."
                )
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(0, "it cannot be written")
            self._scan()
            self._trim(max_bytes)
        except OSError as error:
            raise ConfigError(
                f"cannot record to {path}: {error.strerror or error}. Choose another --record."
            ) from error

    def limit(self, max_bytes: int) -> None:
        """Keep at most so many bytes from now on. Raises OSError."""
        self.max_bytes = max_bytes
        self._trim(max_bytes)

    def write(self, time: str, request_id: str, data: bytes) -> Path | None:
        """Keep `data`, the oldest files making room; None where it alone is too large. `time` is
        an RFC 3339 one in UTC with microseconds. A file is there whole or not at all. Raises
        OSError.
        """
        if len(data) > self.max_bytes:
            return None
        self._trim(self.max_bytes - len(data))
        path = self._free_path(time, request_id)
        unfinished = self.path / f".{path.name}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with open(os.open(unfinished, flags, 0o600), "wb") as file:
                file.write(data)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        self._files.append((path.name, len(data)))
        self.num_bytes += len(data)
        return path

    def _trim(self, max_bytes: int) -> None:
        while self.num_bytes > max_bytes:
            name, size = self._files[0]
            (self.path / name).unlink(missing_ok=True)
            self._files.popleft()
            self.num_bytes -= size

    def _free_path(self, time: str, request_id: str) -> Path:
        stamp = re.sub(r"[-:.]|\+00:00$", "", time) + "Z"
        name = re.sub(r"[^\w-]", "_", request_id, flags=re.ASCII)[:MAX_ID] or "none"
        path, number = self.path / f"{stamp}-{name}.json", 2
        while path.exists():
            path, number = self.path / f"{stamp}-{name}-{number}.json", number + 1
        return path

    def _scan(self) -> None:
        found = []
        for entry in os.scandir(self.path):
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                found.append((entry.name, entry.stat(follow_symlinks=False).st_size))
            elif _UNFINISHED.fullmatch(entry.name):
                os.unlink(entry.path)  # of a daemon that was killed
        self._files = deque(sorted(found))
        self.num_bytes = sum(size for _, size in found)
