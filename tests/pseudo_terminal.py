"""A command on a terminal of its own, driven as a person would: by typing and by reading."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 60.0
"""Seconds after which a text that must appear counts as never appearing."""

# The terminal becomes that of the command's session, so that Ctrl-C reaches it as a signal.
_LAUNCHER = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
_SEQUENCE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]|\x1b[=>]|\x01|\x02|\r")


class PseudoTerminal:
    """A running command. `seen` is all that it wrote, without escape sequences."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.raw = ""
        self._master = master
        self._position = 0

    @property
    def seen(self) -> str:
        return _SEQUENCE.sub("", self.raw)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, text: str) -> str:
        """Wait until `text` appears behind what was expected before; what came up to it."""
        deadline = time.monotonic() + DEADLINE
        while (at := self.seen.find(text, self._position)) < 0:
            assert self._read(deadline), f"{text!r} never came: {self.seen[self._position :]!r}"
        between = self.seen[self._position : at]
        self._position = at + len(text)
        return between

    def end(self) -> int:
        """Wait for the command's end; its exit code."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        return self.process.wait(max(0.0, deadline - time.monotonic()))

    def hang_up(self) -> None:
        """Take the terminal away, as when its window is closed."""
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self._master)
        os.close(nothing)

    def resize(self, columns: int, lines: int) -> None:
        _set_size(self._master, columns, lines)

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def _read(self, deadline: float) -> bool:
        """Whether there was more before the end, and before the deadline."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._master], [], [], left)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux tells that nobody has it open any more
            return False
        self.raw += data.decode("utf-8", "replace")
        return bool(data)


@contextmanager
def on_terminal(
    command: Sequence[str | Path],
    environ: Mapping[str, str],
    cwd: Path,
    *,
    columns: int = 80,
    lines: int = 24,
) -> Iterator[PseudoTerminal]:
    """Run `command` on a terminal of this size until the block ends; it is killed then."""
    master, slave = pty.openpty()
    try:
        _set_size(master, columns, lines)
        process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, *map(str, command)],
            stdin=slave, stdout=slave, stderr=slave, cwd=cwd, start_new_session=True,
            env={**environ, "TERM": "xterm-256color"},
        )  # fmt: skip
    finally:
        os.close(slave)
    try:
        yield PseudoTerminal(process, master)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(master)


def _set_size(fd: int, columns: int, lines: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
