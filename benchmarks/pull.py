"""Pulling from a hub on this machine, against huggingface_hub's own download: seconds, CPU time,
and bytes that come twice when a pull is killed halfway.

    python benchmarks/pull.py DIRECTORY --megabytes 300 --rounds 5

In turn, each as a process of its own with an empty cache in DIRECTORY:

    llmd        llmd pull, which also computes the checksum
    library     huggingface_hub.snapshot_download, which does not
    llmd again  llmd pull of what is there
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hub import LocalHub, hub_serving

REPO = "org/repo"
PATIENCE = 600.0

LLMD = (sys.executable, "-m", "llmd", "pull", REPO)
LIBRARY = (
    sys.executable,
    "-c",
    f"from huggingface_hub import snapshot_download; snapshot_download({REPO!r})",
)


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds and CPU seconds are medians over the rounds; of whole processes, start included."""

    num_bytes: int
    rounds: int
    llmd_seconds: float
    llmd_cpu: float
    library_seconds: float
    library_cpu: float
    again_seconds: float
    llmd_sent_twice: int
    """Bytes that came again after a kill halfway."""
    library_sent_twice: int


def measure(directory: Path, num_bytes: int, num_rounds: int) -> Result:
    with hub_serving() as hub:
        hub.add(REPO, {"m-Q4_K_M.gguf": made(num_bytes)})
        rounds = []
        for _ in range(num_rounds):
            with (
                TemporaryDirectory(dir=directory) as own,
                TemporaryDirectory(dir=directory) as other,
            ):
                rounds.append(
                    (*timed(hub, LLMD, own), *timed(hub, LIBRARY, other), *timed(hub, LLMD, own))
                )
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        return Result(
            num_bytes=num_bytes,
            rounds=num_rounds,
            llmd_seconds=medians[0],
            llmd_cpu=medians[1],
            library_seconds=medians[2],
            library_cpu=medians[3],
            again_seconds=medians[4],
            llmd_sent_twice=sent_twice(hub, LLMD, directory, num_bytes),
            library_sent_twice=sent_twice(hub, LIBRARY, directory, num_bytes),
        )


def made(num_bytes: int) -> bytes:
    block = random.Random(1).randbytes(2**20)
    return (block * (num_bytes // len(block) + 1))[:num_bytes]


def timed(hub: LocalHub, command: Sequence[str], cache: str) -> tuple[float, float]:
    """Seconds, and CPU seconds of the process."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environ(hub, cache), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def sent_twice(hub: LocalHub, command: Sequence[str], directory: Path, num_bytes: int) -> int:
    """Kill the command when half of the file has left, and run it again."""
    hub.pause_at, hub.num_sent = num_bytes // 2, 0
    hub.paused.clear()
    hub.go.clear()
    with TemporaryDirectory(dir=directory) as cache:
        with subprocess.Popen(
            command, env=environ(hub, cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            if not hub.paused.wait(PATIENCE):
                raise RuntimeError("the client never came to the middle of the file")
            wait_until_still(Path(cache))
            process.kill()
        hub.pause_at, hub.num_sent = None, num_bytes // 2
        hub.go.set()
        subprocess.run(command, env=environ(hub, cache), check=True, capture_output=True)
    return hub.num_sent - num_bytes


def wait_until_still(directory: Path) -> None:
    """Until nothing is written there any more: what has left the hub has arrived."""
    size = -1
    while (now := sum(path.lstat().st_size for path in directory.rglob("*"))) != size:
        size = now
        time.sleep(0.3)


def environ(hub: LocalHub, cache: str) -> dict[str, str]:
    return os.environ | {"HF_HOME": cache, "HF_ENDPOINT": hub.endpoint}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--megabytes", type=float, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = measure(options.directory, round(options.megabytes * 1e6), options.rounds)
    if options.json:
        print(json.dumps(asdict(result)))
        return 0
    megabytes = result.num_bytes / 1e6
    for name, seconds, cpu in (
        ("llmd", result.llmd_seconds, result.llmd_cpu),
        ("library", result.library_seconds, result.library_cpu),
    ):
        print(f"{name:<11} {seconds:6.2f} s {cpu:6.2f} s CPU {megabytes / seconds:7.0f} MB/s")
    print(f"llmd again  {result.again_seconds:6.2f} s")
    print(f"sent twice after a kill halfway: llmd {result.llmd_sent_twice / 1e6:.1f} MB, ", end="")
    print(f"library {result.library_sent_twice / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
