"""What every thread is doing, for the log."""

from __future__ import annotations

import faulthandler
import tempfile


def all_stacks() -> str:
    """The Python stacks of all threads, the newest call first."""
    try:
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            return file.read().decode("utf-8", "backslashreplace").rstrip()
    except OSError as error:
        faulthandler.dump_traceback(2, all_threads=True)
        return f"on stderr, as there is no place for a temporary file ({error})"
