"""What the processors have been doing."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from llmd.config.cgroups import PROC

# Columns of /proc/stat (proc_stat(5)) that are no work: idle and iowait. The last two are already
# counted as user time.
_IDLE, _IOWAIT, _NUM_COLUMNS = 3, 4, 8


def own_processors() -> frozenset[int] | None:
    """The processors this process may run on; None where the system does not tell."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def busy_seconds(processors: Collection[int], proc: Path = PROC) -> float | None:
    """Seconds that `processors` have spent on any work of anybody since the system started; None
    where the system does not tell.
    """
    try:
        lines = (proc / "stat").read_text().splitlines()
    except OSError:
        return None
    names = {f"cpu{number}" for number in processors}
    num_ticks = 0
    for line in lines:
        name, *columns = line.split()
        if name in names:
            ticks = [int(column) for column in columns[:_NUM_COLUMNS]]
            num_ticks += sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT]
    return num_ticks / os.sysconf("SC_CLK_TCK")
