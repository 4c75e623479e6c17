"""How many threads this process can use well.

The decode threads of llama.cpp wait for each other at every layer, so one thread more than the
cores or the quota can carry slows all of them down; SMT siblings share the units they need.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from llmd.config.cgroups import PROC, SYS, control_groups


@dataclass(frozen=True, slots=True)
class UsableThreads:
    """`count` is at least 1; `reason` tells what bounds it."""

    count: int
    reason: str

    def __str__(self) -> str:
        return f"{self.count}: {self.reason}"


def usable_threads(
    proc: Path = PROC, sys_root: Path = SYS, affinity: Collection[int] | None = None
) -> UsableThreads:
    """Physical cores within the affinity mask, or the cgroup's CPU quota rounded down if less.

    `affinity` are the CPUs this process may run on; None asks the system.
    """
    if affinity is None:
        if not hasattr(os, "sched_getaffinity"):
            return _without_affinity()
        affinity = os.sched_getaffinity(0)
    num_cores = len({_core(sys_root, cpu) for cpu in affinity})
    reason = f"{num_cores} physical core{'s' * (num_cores != 1)} in the affinity mask"
    quota = cpu_quota(proc, sys_root)
    if quota is None:
        return UsableThreads(max(1, num_cores), reason)
    count = max(1, min(num_cores, int(quota)))
    return UsableThreads(count, f"{reason}, cgroup quota {quota:g} CPUs")


def cpu_quota(proc: Path = PROC, sys_root: Path = SYS) -> float | None:
    """CPUs' worth of time that the control groups allow; None where they set no limit."""
    quotas = []
    for group in control_groups("cpu", proc, sys_root):
        if group.version == 2:
            # "250000 100000", or "max 100000" (kernel docs, cgroup-v2.rst).
            quota, _, period = (group.read("cpu.max") or "max").partition(" ")
        else:
            # -1 is no limit (kernel docs, scheduler/sched-bwc.rst).
            quota = group.read("cpu.cfs_quota_us") or "-1"
            period = group.read("cpu.cfs_period_us") or ""
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _core(sys_root: Path, cpu: int) -> str:
    """What tells the physical core of a CPU from others; the CPU itself where nothing is known."""
    topology = sys_root / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
    try:
        return (topology / "thread_siblings_list").read_text().strip()
    except OSError:
        pass
    try:
        names = ("physical_package_id", "core_id")
        return ":".join((topology / name).read_text().strip() for name in names)
    except OSError:
        return f"cpu{cpu}"


def _without_affinity() -> UsableThreads:
    if sys.platform == "darwin":
        # Efficiency cores would hold the performance cores up at every barrier.
        for name in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            answer = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True)
            if answer.returncode == 0 and answer.stdout.strip().isdecimal():
                return UsableThreads(max(1, int(answer.stdout)), f"sysctl {name}")
    return UsableThreads(os.cpu_count() or 1, "processors of this system")
