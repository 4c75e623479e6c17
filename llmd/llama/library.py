"""The native library: loaded once, its log turned into Python logging."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from llmd.llama.waiting import choose_wait_policy

WAIT_POLICY = choose_wait_policy(os.environ)

import llama_cpp  # noqa: E402  the policy above must be set before libgomp is loaded

logger = logging.getLogger("llmd.llama")

# ggml.h enum ggml_log_level: debug 1, info 2, warn 3, error 4, continued 5. Its infos are hundreds
# of lines for each load, and its warnings are about choices that llmd makes on purpose.
_ERROR = 4
_CONTINUED = 5

_captures: list[list[str]] = []


class _LogWriter:
    """Joins llama.cpp's pieces of lines. Called from whichever thread is inside the library."""

    def __init__(self) -> None:
        self._pending = ""
        self._level = 1

    def __call__(self, level: int, text: bytes, _user_data: int | None) -> None:
        if level != _CONTINUED:
            self._level = level
        self._pending += text.decode("utf-8", "replace")
        while "\n" in self._pending:
            line, self._pending = self._pending.split("\n", 1)
            if line.strip():
                self._write(line.strip())

    def _write(self, line: str) -> None:
        is_error = self._level == _ERROR
        if is_error:
            for capture in _captures:
                capture.append(line)
        # While somebody captures them, errors are told by who called, with their cure.
        loud = is_error and not _captures
        logger.log(logging.WARNING if loud else logging.DEBUG, "%s", line)


_log_callback = llama_cpp.llama_log_callback(_LogWriter())


def initialize() -> None:
    """Load backends and route the log; every llama.cpp object comes after this. Idempotent."""
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


@contextmanager
def captured_errors() -> Iterator[list[str]]:
    """The error lines that llama.cpp logs inside the block, oldest first."""
    lines: list[str] = []
    _captures.append(lines)
    try:
        yield lines
    finally:
        _captures.remove(lines)


def supports_gpu() -> bool:
    """Whether this build can place layers on an accelerator."""
    return bool(llama_cpp.llama_supports_gpu_offload())


def build_version() -> str:
    """The llama-cpp-python release that the native code came with."""
    return str(llama_cpp.__version__)
