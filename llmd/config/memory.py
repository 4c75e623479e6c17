"""How much memory this process can still get."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from llmd.config.cgroups import PROC, SYS, ControlGroup, control_groups

_NO_LIMIT = 2**60
"""cgroup v1 says LONG_MAX rounded to pages for no limit."""


@dataclass(frozen=True, slots=True)
class AvailableMemory:
    """`num_bytes` can be had without swapping; `reason` tells what bounds it."""

    num_bytes: int
    reason: str


def available_memory(proc: Path = PROC, sys_root: Path = SYS) -> AvailableMemory:
    """The system's available memory, or what the tightest control group leaves if that is less.
    Page cache counts as available in both.
    """
    found = [_system(proc)]
    for group in control_groups("memory", proc, sys_root):
        limit, left = _limit(group), _left(group)
        if limit is not None and left is not None:
            reason = f"cgroup limit {limit / 2**30:.1f} GiB"
            found.append(AvailableMemory(left, reason))
    return min(found, key=lambda memory: memory.num_bytes)


def private_memory(proc: Path = PROC) -> int | None:
    """Bytes in memory that are this process's alone and backed by no file; None where the system
    does not tell.
    """
    try:
        text = (proc / "self" / "status").read_text()
    except OSError:
        return None
    match = re.search(r"^RssAnon:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _limit(group: ControlGroup) -> int | None:
    text = group.read("memory.max" if group.version == 2 else "memory.limit_in_bytes")
    if text is None or not text.isdecimal() or int(text) >= _NO_LIMIT:
        return None
    return int(text)


def _left(group: ControlGroup) -> int | None:
    """Bytes up to the limit. Cached files are given back on demand: a model file that was read
    before counts as usage, and must not keep itself from being loaded again.
    """
    limit = _limit(group)
    usage = group.read("memory.current" if group.version == 2 else "memory.usage_in_bytes")
    if limit is None or usage is None or not usage.isdecimal():
        return None
    prefix = "" if group.version == 2 else "total_"
    statistics = dict(
        line.split(maxsplit=1) for line in (group.read("memory.stat") or "").splitlines()
    )
    cached = sum(int(statistics.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
    return max(0, limit - max(0, int(usage) - cached))


def _system(proc: Path) -> AvailableMemory:
    if sys.platform == "darwin" and proc == PROC:
        text = subprocess.run(["vm_stat"], capture_output=True, text=True).stdout
        return AvailableMemory(parse_vm_stat(text), "free and inactive pages")
    try:
        text = (proc / "meminfo").read_text()
    except OSError:
        text = ""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    if match:
        return AvailableMemory(int(match[1]) * 1024, "MemAvailable")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return AvailableMemory(total, "all memory of this system")


def parse_vm_stat(text: str) -> int:
    """Bytes that macOS can give out, from the output of vm_stat(1)."""
    size = re.search(r"page size of (\d+) bytes", text)
    kinds = ("free", "inactive", "speculative")
    pages = sum(
        int(match[1])
        for kind in kinds
        if (match := re.search(rf"^Pages {kind}:\s+(\d+)", text, re.MULTILINE))
    )
    return pages * int(size[1]) if size else 0
