"""Signals that arrive in the instant before the main thread waits, for a key or for the daemon.

CPython looks for signals before it waits and when one ends the wait: one in between would be seen
with the next key only, or the next byte. Any further signal ends the wait, and both are handled.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from llmd.cli.terminal.tty import handling

PAUSES = (0.02, 0.1, 0.5)
"""Seconds before each further signal: on a busy machine the instant is longer."""

_ROUSE = signal.SIGURG
"""Means nothing to anybody here, and by default to no process."""


@contextmanager
def rousing() -> Iterator[None]:
    """While the block runs in the main thread, each signal that it handles is followed by some that
    rouse it.
    """
    main = threading.get_ident()
    read, write = os.pipe()
    os.set_blocking(write, False)
    thread = threading.Thread(target=_rouse, args=(main, read), name="rousing", daemon=True)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    with handling({_ROUSE: lambda *_: None}):
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            os.close(write)
            thread.join()
            os.close(read)


def _rouse(main: int, read: int) -> None:
    """Until the other end of `read` is closed; each signal that was handled is a byte of it."""
    pauses: list[float] = []
    while True:
        if not select.select([read], [], [], pauses.pop(0) if pauses else None)[0]:
            signal.pthread_kill(main, _ROUSE)
            continue
        handled = os.read(read, 64)
        if not handled:
            return
        if any(number != _ROUSE for number in handled):
            pauses = list(PAUSES)
