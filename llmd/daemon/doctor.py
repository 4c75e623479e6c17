"""What this machine and this build can do, and how a model would run here."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmd.config.load import LoadedSettings
from llmd.config.memory import available_memory
from llmd.config.processors import usable_threads
from llmd.config.settings import ModelSettings, ServerSettings
from llmd.config.size_text import size_text
from llmd.daemon.listener import bind
from llmd.engine.estimate import make_plan
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.engine.plan import EffectiveValue
from llmd.errors import LlmdError, StartupError
from llmd.llama import library
from llmd.store.hub import Hub
from llmd.store.hub_cache import hub_cache
from llmd.store.locate import locate
from llmd.store.model_file import read_model_file

HUB_TIMEOUT = 3.0
"""Seconds. A machine without a network is no fault."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of what was found. `is_fault` says that llmd cannot run like this."""

    name: str
    value: str
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class ModelFinding:
    """How a model would run. `fault` says why it cannot; then there is nothing else."""

    name: str
    estimate: MemoryEstimate | None
    free: int
    rows: tuple[EffectiveValue, ...]
    fault: str | None

    @property
    def verdict(self) -> str:
        estimate = self.estimate
        if estimate is None:
            return f"it does not fit: {self.fault}"
        verdict = f"it fits, with {size_text(estimate.host)} of {size_text(self.free)} host memory"
        if estimate.device:
            verdict += f" and {size_text(estimate.device)} on GPUs"
        if estimate.host + estimate.prompt_cache > self.free:
            verdict += "; a full prompt cache will not: set a smaller --cache-ram"
        return f"{verdict}."


def examine(loaded: LoadedSettings, environ: Mapping[str, str]) -> list[Finding]:
    """The machine, the build and the surroundings. May take seconds, for the hub."""
    library.initialize()
    memory = available_memory()
    return [
        Finding("processor", f"{usable_threads()}"),
        Finding("memory", f"{size_text(memory.num_bytes)} free ({memory.reason})"),
        *_devices(),
        Finding("llama.cpp", f"of llama-cpp-python {library.build_version()}"),
        *(Finding("backend", f"{name}: {', '.join(has)}") for name, has in library.features()),
        Finding("waiting", library.WAIT_POLICY),
        Finding("configuration", str(loaded.file or "no file, so defaults")),
        Finding("service", _service(environ)),
        _address(loaded.settings.server),
        _hub(environ),
        _store(),
    ]


def examine_model(name: str, settings: ModelSettings, budget: int | None) -> ModelFinding:
    """The plan that `llmd serve` would make now; nothing is loaded. Raises ModelFileNotFound, or
    InvalidModelFile.
    """
    memory = Memory.now(budget)
    file = read_model_file(locate(settings.source))
    try:
        plan = make_plan(file, settings, memory)
    except LlmdError as error:
        return ModelFinding(name, None, memory.host_bytes, (), error.message)
    return ModelFinding(name, plan.estimate, memory.host_bytes, plan.effective, None)


def _devices() -> Iterator[Finding]:
    gpus = library.gpus()
    for gpu in gpus:
        sizes = f"{size_text(gpu.free)} of {size_text(gpu.total)} free"
        yield Finding("GPU", f"{gpu.name}, {gpu.description}: {sizes}")
    if not gpus:
        able = library.supports_gpu()
        yield Finding("GPU", "none found" if able else "none: this build is for the CPU")


def _service(environ: Mapping[str, str]) -> str:
    if "NOTIFY_SOCKET" in environ:
        return "run by systemd, which is told when llmd is ready"
    if "INVOCATION_ID" in environ:
        return "run by systemd, as a plain process"
    return "not run by systemd"


def _address(server: ServerSettings) -> Finding:
    if server.uds is not None:
        return Finding("address", f"unix:{server.uds}")
    try:
        bind(server).close()
    except StartupError as error:
        return Finding("address", error.message, is_fault=True)
    return Finding("address", f"http://{server.host}:{server.port} is free")


def _hub(environ: Mapping[str, str]) -> Finding:
    endpoint = Hub().endpoint
    if environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return Finding("hub", f"{endpoint} is left alone, as HF_HUB_OFFLINE says")
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT):
            pass
    except urllib.error.HTTPError:
        pass  # it answers, if not this
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Finding("hub", f"{endpoint} cannot be reached ({reason}); pulled models are served")
    return Finding("hub", f"{endpoint} answers")


def _store() -> Finding:
    directory = hub_cache()
    there = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    state = f"{size_text(free)} free" + ("" if writable else ", not writable")
    return Finding("store", f"{directory}: {state}")
