"""What signals ask of the daemon."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def handled_signals(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for each SIGINT and SIGTERM, and `reload` for SIGHUP, on the running loop. Main
    thread only.
    """
    had_terminal = _has_terminal()

    def hang_up() -> None:
        # The signal to reload also comes when the terminal that llmd runs in is closed.
        if had_terminal and not _has_terminal():
            stop()
        else:
            reload()

    loop = asyncio.get_running_loop()
    handlers = {signal.SIGINT: stop, signal.SIGTERM: stop}
    # Whoever starts it with nohup wants it to take no notice of this one.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = hang_up
    for each, handler in handlers.items():
        loop.add_signal_handler(each, handler)
    try:
        yield
    finally:
        for each in handlers:
            loop.remove_signal_handler(each)


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal that is open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
