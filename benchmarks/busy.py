"""A busy neighbour: one core's worth of work at normal priority, for a bounded time.

python benchmarks/busy.py --seconds 30
"""

from __future__ import annotations

import argparse
import os
import sys
import time

MAX_SECONDS = 3600.0


def stay_busy(seconds: float, parent: int) -> int:
    """Work for `seconds`, or until the process `parent` is no longer this one's; returns rounds."""
    end = time.monotonic() + min(seconds, MAX_SECONDS)
    rounds = 0
    while time.monotonic() < end and os.getppid() == parent:
        sum(range(100_000))
        rounds += 1
    return rounds


def main() -> int:
    parser = argparse.ArgumentParser(description="Keep one core busy for a while.")
    parser.add_argument("--seconds", type=float, required=True, help=f"at most {MAX_SECONDS:.0f}")
    options = parser.parse_args()
    print(stay_busy(options.seconds, os.getppid()), "rounds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
