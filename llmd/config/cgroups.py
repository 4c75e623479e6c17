"""The control groups that this process runs in (Linux cgroups v1 and v2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROC = Path("/proc")
SYS = Path("/sys")


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """One level of the hierarchy; its limits bind all levels below it."""

    directory: Path
    version: int

    def read(self, name: str) -> str | None:
        """A file of the group; None where the kernel or the container does not show it."""
        try:
            return (self.directory / name).read_text().strip()
        except OSError:
            return None


def control_groups(controller: str, proc: Path = PROC, sys: Path = SYS) -> Iterator[ControlGroup]:
    """The groups that `controller` (cpu, memory) limits this process by, innermost first.

    A container often shows the host's path in /proc/self/cgroup but mounts its own group as the
    root, so levels that do not exist are passed over.
    """
    root = sys / "fs" / "cgroup"
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            # Beside v1 controllers, v2 is mounted at `unified`.
            yield from _levels((root, root / "unified"), path, version=2)
        elif controller in controllers.split(","):
            yield from _levels((root / controllers, root / controller), path, version=1)


def _levels(roots: tuple[Path, ...], path: str, *, version: int) -> Iterator[ControlGroup]:
    inner = PurePosixPath(path.lstrip("/"))
    # A path with `..` leads out of what the namespace shows.
    steps = [PurePosixPath()] if ".." in inner.parts else [inner, *inner.parents]
    for step in dict.fromkeys(steps):
        for root in roots:
            if (root / step).is_dir():
                yield ControlGroup(root / step, version)
                break
