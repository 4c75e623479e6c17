"""Where the state of the Responses API lives."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from llmd.config.settings import ServerSettings
from llmd.errors import StartupError
from llmd.responses.database import ResponseDatabase
from llmd.responses.store import ResponseStore

logger = logging.getLogger("llmd.responses")

SECONDS_PER_DAY = 86_400.0

MAX_BYTES_IN_MEMORY = 64 * 2**20


def open_store(settings: ServerSettings, environ: Mapping[str, str]) -> ResponseStore:
    """The store that the settings ask for. Raises StartupError where `state_dir` names a directory
    that cannot be used; of the one that llmd found by itself, it is told and memory used instead.
    """
    wish = settings.state_dir
    directory = find_directory(environ) if wish == "auto" else None
    if isinstance(wish, Path):
        directory = wish
    if directory is None:
        logger.info("responses are kept in memory and end with llmd (--state-dir)")
        return memory_store(settings)
    database = _database(settings, directory)
    try:
        database.open()
    except (OSError, sqlite3.Error) as error:
        if wish != "auto":
            raise StartupError(
                f"cannot keep state in {directory}: {error}. Choose another --state-dir, or none."
            ) from error
        logger.warning(
            "cannot keep state in %s: %s; responses are kept in memory and do not survive a "
            "restart (--state-dir)",
            directory,
            error,
        )
        return memory_store(settings)
    logger.info("responses are kept in %s", database.path)
    return ResponseStore(database)


def memory_store(settings: ServerSettings) -> ResponseStore:
    """One that ends with the process, and is smaller."""
    return ResponseStore(_database(settings, None))


def find_directory(environ: Mapping[str, str]) -> Path | None:
    """systemd's $STATE_DIRECTORY, else llmd in the user's state directory (XDG Base Directory
    Specification 0.8); None where there is no home.
    """
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "llmd"
    home = environ.get("HOME") or os.path.expanduser("~")
    return Path(home) / ".local" / "state" / "llmd" if os.path.isabs(home) else None


def _database(settings: ServerSettings, directory: Path | None) -> ResponseDatabase:
    max_bytes = int(settings.state_max_bytes)
    return ResponseDatabase(
        directory,
        max_age=settings.state_max_age * SECONDS_PER_DAY,
        max_bytes=max_bytes if directory is not None else min(max_bytes, MAX_BYTES_IN_MEMORY),
        clock=time.time,
    )
