"""The state of the terminal itself, and whom it belongs to."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]
Mode = list[Any]


@contextmanager
def handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    """These handlers while the block runs; those from before afterwards."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def quiet(fd: int) -> Iterator[None]:
    """What is typed while the block runs is not echoed into the picture; it waits for the next
    prompt. Does nothing where `fd` is no terminal.
    """
    before = _mode(fd)
    if before is None:
        yield
        return
    silent = list(before)
    silent[3] &= ~termios.ECHO
    _set_mode(fd, silent)
    try:
        yield
    finally:
        _set_mode(fd, before)


@contextmanager
def suspendable(fd: int, resumed: Callable[[], None]) -> Iterator[None]:
    """Ctrl-Z gives the shell its terminal as it was when the block began, whatever is done to it
    then; not every shell sees to that itself. `resumed` is called when the block goes on.
    """
    before = _mode(fd)

    def suspend(_number: int, _frame: FrameType | None) -> None:
        now = _mode(fd)
        _set_mode(fd, before)
        with handling({signal.SIGTSTP: signal.SIG_DFL}):  # type: ignore[dict-item]
            os.kill(os.getpid(), signal.SIGTSTP)
        _set_mode(fd, now)
        resumed()

    with handling({signal.SIGTSTP: suspend} if before is not None else {}):
        yield


def _mode(fd: int) -> Mode | None:
    """None where `fd` is no terminal, or one that hung up."""
    try:
        return termios.tcgetattr(fd)
    except termios.error:
        return None


def _set_mode(fd: int, mode: Mode | None) -> None:
    if mode is not None:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, mode)
