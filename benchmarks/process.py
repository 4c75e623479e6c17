"""What a server has used, from Linux's /proc (proc_pid_stat(5), proc_pid_status(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over a process and its descendants: CPU seconds of all threads, MiB of memory."""

    cpu_seconds: float
    peak_mib: float
    anonymous_mib: float
    """Resident memory that is not a mapped file: without the weights, where those are mapped."""


def usage_of(pid: int) -> Usage | None:
    """None where there is no such process, or no /proc.

    Descendants that have ended count by the CPU time that their parent has waited for.
    """
    pids = _with_descendants(pid)
    if not pids:
        return None
    cpu = peak = anonymous = 0.0
    for member in pids:
        try:
            # After the name, which may hold anything up to the last parenthesis; utime is field 14.
            fields = (_PROC / str(member) / "stat").read_text().rpartition(")")[2].split()
            status = (_PROC / str(member) / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        cpu += sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
        peak += _kib(status, "VmHWM:") / 1024
        anonymous += _kib(status, "RssAnon:") / 1024
    return Usage(cpu, peak, anonymous)


def _with_descendants(pid: int) -> list[int]:
    if not (_PROC / str(pid)).exists():
        return []
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def _kib(status: str, field: str) -> float:
    for line in status.splitlines():
        if line.startswith(field):
            return float(line.split()[1])
    return 0.0
