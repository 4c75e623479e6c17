"""The native library: loaded once, its log turned into Python logging."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmd.errors import ContextRefused, ModelLoadError, NotEnoughMemory
from llmd.llama.waiting import choose_wait_policy

WAIT_POLICY = choose_wait_policy(os.environ)

import llama_cpp  # noqa: E402  the policy above must be set before libgomp is loaded
from llama_cpp._ggml import libggml  # noqa: E402  the bindings have no functions for devices

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


def wants_memory(errors: list[str]) -> bool:
    """Whether llama.cpp failed, after these lines, for want of memory. Only its words tell."""
    return any("alloc" in line for line in errors)


def no_context(errors: list[str], what: str, smaller: str) -> ModelLoadError:
    """The error to raise where llama.cpp, after these lines, has not made `what`. For want of
    memory the cure is `smaller`.
    """
    reason = errors[-1] if errors else "llama.cpp gives no reason"
    if wants_memory(errors):
        return NotEnoughMemory(f"cannot make {what}: {reason}. Try {smaller}.")
    return ContextRefused(
        f"cannot make {what}: {reason}. Try --flash-attn auto, --cache-type-k f16 and "
        f"--cache-type-v f16, or {smaller}."
    )


def supports_gpu() -> bool:
    """Whether this build can place layers on an accelerator."""
    return bool(llama_cpp.llama_supports_gpu_offload())


@dataclass(frozen=True, slots=True)
class Device:
    """Something that computes; memory in bytes, as it is right now."""

    name: str
    description: str
    free: int
    total: int
    is_gpu: bool
    shares_host: bool
    """Its memory is the system's."""


def devices() -> list[Device]:
    """What llama.cpp can compute on, the CPU among them. After `initialize`; any thread."""
    return [_device(libggml.ggml_backend_dev_get(index)) for index in range(_count_devices())]


def gpus() -> list[Device]:
    """Those that layers are placed on: as llama.cpp does, integrated ones only where there are no
    others. After `initialize`; any thread.
    """
    found = [device for device in devices() if device.is_gpu]
    own = [device for device in found if not device.shares_host]
    return own or found


def features() -> list[tuple[str, list[str]]]:
    """The backends of this build, and what each can use of this machine, in llama.cpp's words."""
    text = llama_cpp.llama_print_system_info().decode()
    found: dict[str, list[str]] = {}
    backend = ""
    # "CPU : SSE3 = 1 | AVX2 = 1 | CUDA : ARCHS = 900 | "
    for part in filter(None, map(str.strip, text.split("|"))):
        if " : " in part:
            backend, _, part = part.partition(" : ")
        name, _, value = part.partition(" = ")
        if value != "0":
            found.setdefault(backend, []).append(name if value == "1" else f"{name} {value}")
    return list(found.items())


# ggml-backend.h enum ggml_backend_dev_type
_GPU, _INTEGRATED_GPU = 1, 2


def _count_devices() -> int:
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    for name in ("name", "description"):
        getattr(libggml, f"ggml_backend_dev_{name}").restype = ctypes.c_char_p
        getattr(libggml, f"ggml_backend_dev_{name}").argtypes = [ctypes.c_void_p]
    libggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    number = ctypes.POINTER(ctypes.c_size_t)
    libggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, number, number]
    libggml.ggml_backend_dev_memory.restype = None
    return int(libggml.ggml_backend_dev_count())


def _device(handle: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    libggml.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    kind = libggml.ggml_backend_dev_type(handle)
    return Device(
        name=libggml.ggml_backend_dev_name(handle).decode(),
        description=libggml.ggml_backend_dev_description(handle).decode(),
        free=free.value,
        total=total.value,
        is_gpu=kind in (_GPU, _INTEGRATED_GPU),
        # Metal calls its device a GPU though its memory is the system's.
        shares_host=kind == _INTEGRATED_GPU or sys.platform == "darwin",
    )


def build_version() -> str:
    """The llama-cpp-python release that the native code came with."""
    return str(llama_cpp.__version__)
