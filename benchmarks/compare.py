"""Servers side by side: started in turn, A B A B, each under the same load.

    python benchmarks/compare.py --model-file model.gguf --rounds 3 \\
        --server "llmd=llmd serve {model} --port {port} --threads {threads}" \\
        --server "cpp=python -m llama_cpp.server --model {model} --port {port}" \\
        --clients 4 --requests 16

In a command {model}, {port}, {threads}, {context} and {config} are filled in; {config} is a JSON
file with the text of --config, in which the same names are filled in as $model, $port and so on.
Ratios compare each server with the first one in the same round, so a slow hour hurts both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from load import Load, add_load_options, load_from, measure
from report import METRICS, Report, format_table, format_value
from server import Server, Values, add_server_options, measure_in_turn, running, started

MAX_BUSY = 16

RATIOS = (
    "tokens_per_second",
    "stream_tokens_per_second",
    "first_p50",
    "first_p95",
    "gap_p50",
    "gap_p99",
    "total_p50",
    "server_cpu_seconds",
    "server_peak_mib",
    "server_anonymous_mib",
)


@contextmanager
def busy_neighbours(count: int, seconds: float) -> Iterator[None]:
    script = str(Path(__file__).with_name("busy.py"))
    with ExitStack() as stack:
        for _ in range(count):
            arguments = [sys.executable, script, "--seconds", str(seconds)]
            stack.enter_context(running(arguments, Path(os.devnull)))
        yield


def run_once(server: Server, load: Load, values: Values, folder: Path, num_busy: int) -> Report:
    """Start the server, put the load on it, stop it. RuntimeError where it does not answer."""
    with started(server, values, folder) as run, busy_neighbours(num_busy, load.timeout):
        return asyncio.run(measure(run.address, load, server_pid=run.pid))


def median(reports: Sequence[Report], metric: str) -> float | None:
    values = [value for report in reports if (value := getattr(report, metric)) is not None]
    return statistics.median(values) if values else None


def ratios(reports: Sequence[Report], baseline: Sequence[Report], metric: str) -> list[float]:
    """Round by round, this server's value over the baseline's, where both have one."""
    pairs = [
        (getattr(report, metric), getattr(base, metric))
        for report, base in zip(reports, baseline, strict=True)
    ]
    return [value / base for value, base in pairs if value is not None and base]


def format_comparison(reports: Mapping[str, Sequence[Report]]) -> str:
    """Medians of each server, then the ratios to the first one with their range."""
    names = list(reports)
    medians = [
        (label, *(format_value(metric, median(reports[name], metric)) for name in names))
        for metric, (label, _) in METRICS.items()
    ]
    text = format_table(("median", *names), medians)
    base = names[0]
    for name in names[1:]:
        rows = []
        for metric in RATIOS:
            if found := ratios(reports[name], reports[base], metric):
                each = " ".join(f"{ratio:.3f}" for ratio in found)
                rows.append((METRICS[metric][0], f"{statistics.median(found):.3f}", each))
        text += "\n\n" + format_table((f"{name} / {base}", "median", "rounds"), rows)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare servers under the same load.")
    parser.add_argument("--with-busy", type=int, choices=range(MAX_BUSY + 1), default=0)
    add_server_options(parser, context=4096)
    add_load_options(parser)
    options = parser.parse_args()
    load = load_from(options)

    def run(server: Server, values: Values, folder: Path, number: int) -> Report:
        # Other prompts in each round, the same ones for every server.
        round_load = replace(load, seed=load.seed + number * load.num_requests)
        return run_once(server, round_load, values, folder, options.with_busy)

    try:
        reports = measure_in_turn(options, run)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({name: [asdict(r) for r in found] for name, found in reports.items()}))
    else:
        print(format_comparison(reports))
    return 0


if __name__ == "__main__":
    sys.exit(main())
