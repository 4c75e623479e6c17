"""A command of llmd that ends with the process that started it, however that one ends.

    python -m llmd.cli.tether DIRECTORY serve tiny --uds DIRECTORY/llmd.sock

Its stdin is a pipe of which that process holds the other end. The system closes it also for a
process that was killed, which no signal would tell of, and on every Unix. DIRECTORY is removed at
the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time

from llmd.cli import main

GRACE = 20.0
"""Seconds in which the command must have ended once its parent is gone."""


def _watch(directory: str) -> None:
    """Returns never: the process ends."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(1)


def run(directory: str, arguments: list[str]) -> None:
    """Run the command, and end the process with its exit code."""
    threading.Thread(target=_watch, args=(directory,), daemon=True, name="tether").start()
    try:
        main(arguments, prog_name="llmd")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
