"""Writing recordings while the daemon serves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from llmd.recording import recording_json
from llmd.recording.directory import RecordingDirectory
from llmd.recording.recording import Recording

logger = logging.getLogger("llmd.recording")

MAX_BACKLOG = 64 << 20
"""Bytes of recordings that may wait to be written; they are held in memory meanwhile."""


class RecordingWriter:
    """Writes recordings in a thread of its own, one after the other; off at first.

    `add` and `is_on` are the event loop's. What is not recorded harms nobody's answer: a
    disk that fails or is too slow is told in the log, and then again when it has worked meanwhile.
    """

    def __init__(self, *, max_backlog: int = MAX_BACKLOG) -> None:
        self._directory: RecordingDirectory | None = None
        self._thread = ThreadPoolExecutor(1, "recording")
        self._max_backlog = max_backlog
        # Bytes: each of the two is counted up by one thread alone.
        self._num_added = 0
        self._num_done = 0
        self._is_failing = False
        self._is_lagging = False
        self._is_closed = False

    @property
    def is_on(self) -> bool:
        return self._directory is not None

    def configure(self, path: Path | None, max_bytes: int) -> None:
        """Record to `path` from now on, or not at all. Raises ConfigError, and then all stays as it
        was. Any thread; waits for what is being written.
        """
        if self._is_closed:
            return
        if self._thread.submit(self._configure, path, max_bytes).result():
            logger.warning(
                "requests and answers are recorded in %s: their texts are there to be read "
                "(--record)",
                path,
            )

    def add(self, recording: Recording, secrets: Sequence[str]) -> None:
        """Have it written, without `secrets`."""
        if self._directory is None:
            return
        num_bytes = recording.num_bytes
        is_lagging = self._num_added - self._num_done + num_bytes > self._max_backlog
        if is_lagging and not self._is_lagging:
            logger.warning("recordings come faster than they can be written, and some are left out")
        self._is_lagging = is_lagging
        if not is_lagging:
            self._num_added += num_bytes
            with suppress(RuntimeError):  # closed by another thread meanwhile
                self._thread.submit(self._write, recording, tuple(secrets))

    def close(self) -> None:
        """Waits for what is being written. Any thread; idempotent."""
        self._is_closed = True
        self._thread.shutdown()
        self._directory = None

    def _configure(self, path: Path | None, max_bytes: int) -> bool:
        """Whether it records to another directory than before."""
        before = self._directory
        if before is not None and before.path == path:
            before.limit(max_bytes)
            return False
        self._directory = None if path is None else RecordingDirectory(path, max_bytes)
        return path is not None

    def _write(self, recording: Recording, secrets: tuple[str, ...]) -> None:
        try:
            if self._directory is not None:
                data = recording_json.encode(recording, secrets)
                path = self._directory.write(recording.time, recording.request_id, data)
                if path is None:
                    logger.warning(
                        "a recording of %d bytes is too large for --record-max-bytes", len(data)
                    )
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                logger.error("cannot record: %s", error)
            self._is_failing = True
        except Exception as crash:
            logger.error("recording a request crashed", exc_info=crash)
        finally:
            self._num_done += recording.num_bytes
