"""CPU time per streamed token outside the engine: HTTP, JSON, the event loop.

    python benchmarks/streaming.py MODEL [--clients 4] [--tokens 200] [--threads N] [--json]

Starts llmd, streams from it, and reads the CPU time of the daemon's main thread, which runs the
event loop and nothing of the engine, from /proc/PID/task/PID/schedstat (nanoseconds). Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from connection import Address
from load import Load, measure
from server import free_port, running, wait_ready


def main_thread_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


async def measure_loop(address: Address, pid: int, load: Load) -> tuple[float, int]:
    """CPU microseconds per token, and how many tokens were streamed."""
    await measure(address, load)  # warm-up, and finds the rate of tokens per word
    before = main_thread_seconds(pid)
    report = await measure(address, load)
    spent = main_thread_seconds(pid) - before
    if report.num_errors:
        raise SystemExit(f"streaming: {report.errors}")
    return spent / report.num_output_tokens * 1e6, report.num_output_tokens


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "llmd", "serve", str(options.model), "--port", str(port)]
    command += ["--threads", str(options.threads)]
    load = Load(
        num_clients=options.clients,
        num_requests=options.clients * 2,
        num_prompt_tokens=32,
        num_output_tokens=options.tokens,
        ignore_eos=True,
    )
    address = Address("127.0.0.1", port, "")
    with (
        tempfile.TemporaryDirectory() as folder,
        running(command, Path(folder) / "log") as process,
    ):
        asyncio.run(wait_ready(address, process))
        per_token, num_tokens = asyncio.run(measure_loop(address, process.pid, load))
    if options.json:
        print(json.dumps({"microseconds_per_token": per_token, "num_tokens": num_tokens}))
    else:
        print(f"{per_token:.1f} CPU microseconds per token on the event loop, {num_tokens} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
