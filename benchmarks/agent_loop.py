"""An agent loop: how many tokens a server computes for those that are new.

    python benchmarks/agent_loop.py --model-file model.gguf --rounds 2 \\
        --server "llmd=llmd serve {model} --port {port} --threads {threads} --ctx-size {context}"

Two agents and a title-maker take turns, one request at a time (conversation.py). A request's new
tokens are those behind the longest beginning, token by token, that it has in common with any
earlier request of the same sender and the answer to it; they are counted here, with the model
file's own template and vocabulary (prompts.py). New to the server are fewer: agents share the
definitions of their tools. The computed ones are what the server tells: `timings.prompt_n`, or else
`usage.prompt_tokens` less `cached_tokens`. Commands are filled in as compare.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from connection import Connection
from conversation import Sizes, Turn, agent_turns
from load import exchange
from process import usage_of
from prompts import KnownPrompts, PromptEncoder
from server import Running, Server, Values, add_server_options, report_in_turn, started


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the loop. `num_told` is the server's own count of the prompt."""

    actor: str
    turn: int
    num_prompt: int
    num_told: int | None
    num_new: int
    num_new_to_server: int
    num_computed: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """The ratios are of sums, 1 where nothing is computed that is not new."""

    num_requests: int
    num_prompt_tokens: int
    num_new_tokens: int
    num_new_to_server: int
    num_computed_tokens: int | None
    ratio: float | None
    later_ratio: float | None
    """Of the agents from their second turn on."""
    title_ratio: float | None
    server_ratio: float | None
    """Over what is new to the server, whoever sent the rest; never below 1."""
    worst_excess: int | None
    """The most tokens that a request had computed beyond those new to the server."""
    miscounted: int | None
    """The largest difference between the server's count of a prompt and ours; should be 0."""
    wall_seconds: float
    turn_p50: float
    turn_max: float
    server_cpu_seconds: float | None
    steps: tuple[Step, ...]


METRICS = {
    "num_requests": ("requests", "d"),
    "num_prompt_tokens": ("prompt tokens", "d"),
    "num_new_tokens": ("  of them new", "d"),
    "num_new_to_server": ("  of them new to the server", "d"),
    "num_computed_tokens": ("  of them computed", "d"),
    "ratio": ("computed / new", ".3f"),
    "later_ratio": ("  agents from their second turn", ".3f"),
    "title_ratio": ("  title-maker", ".3f"),
    "server_ratio": ("computed / new to the server", ".3f"),
    "worst_excess": ("computed, not new: worst request", "d"),
    "miscounted": ("prompt tokens miscounted, at most", "d"),
    "wall_seconds": ("wall, s", ".1f"),
    "turn_p50": ("request p50, s", ".2f"),
    "turn_max": ("request max, s", ".2f"),
    "server_cpu_seconds": ("server CPU, s", ".1f"),
}


def request_of(turn: Turn, num_output_tokens: int) -> bytes:
    body = {
        "model": "default",
        "messages": turn.messages,
        "max_tokens": num_output_tokens,
        "temperature": 0,
        "stream": False,
    }
    return json.dumps(body | ({"tools": turn.tools} if turn.tools else {})).encode()


async def run_loop(
    server: Running, encoder: PromptEncoder, sizes: Sizes, *, seed: int, num_output_tokens: int
) -> list[Step]:
    """All turns, one after the other. RuntimeError where one is not answered."""
    known, known_of = KnownPrompts(), defaultdict[str, KnownPrompts](KnownPrompts)
    steps = []
    connection = Connection(server.address)
    try:
        for turn in agent_turns(sizes, seed):
            answer = await exchange(connection, request_of(turn, num_output_tokens))
            if answer.error:
                raise RuntimeError(f"{turn.actor}, turn {turn.number + 1}: {answer.error}")
            prompt = encoder.encode(turn.messages, turn.tools)
            steps.append(
                Step(
                    actor=turn.actor,
                    turn=turn.number,
                    num_prompt=len(prompt),
                    num_told=answer.num_prompt_tokens or None,
                    num_new=known_of[turn.actor].num_new(prompt),
                    num_new_to_server=known.num_new(prompt),
                    num_computed=answer.num_computed_tokens,
                    seconds=answer.ended - answer.started,
                )
            )
            answered = encoder.encode(turn.messages, turn.tools, answer.text)
            known_of[turn.actor].add(answered)
            known.add(answered)
    finally:
        await connection.close()
    return steps


def ratio_of(steps: Sequence[Step]) -> float | None:
    return _ratio(sum_computed(steps), sum(step.num_new for step in steps))


def _ratio(num_computed: int | None, num_new: int) -> float | None:
    return num_computed / num_new if num_computed is not None and num_new else None


def sum_computed(steps: Sequence[Step]) -> int | None:
    told = [step.num_computed for step in steps if step.num_computed is not None]
    return sum(told) if told and len(told) == len(steps) else None


def summarize(steps: Sequence[Step], wall: float, cpu: float | None) -> Result:
    titles = [step for step in steps if step.actor == "title-maker"]
    later = [step for step in steps if step.turn > 0 and step not in titles]
    num_new_to_server = sum(step.num_new_to_server for step in steps)
    excesses = [
        step.num_computed - step.num_new_to_server
        for step in steps
        if step.num_computed is not None
    ]
    return Result(
        num_requests=len(steps),
        num_prompt_tokens=sum(step.num_prompt for step in steps),
        num_new_tokens=sum(step.num_new for step in steps),
        num_new_to_server=num_new_to_server,
        num_computed_tokens=sum_computed(steps),
        ratio=ratio_of(steps),
        later_ratio=ratio_of(later),
        title_ratio=ratio_of(titles),
        server_ratio=_ratio(sum_computed(steps), num_new_to_server),
        worst_excess=max(excesses, default=None),
        miscounted=max(
            (abs(s.num_prompt - s.num_told) for s in steps if s.num_told is not None), default=None
        ),
        wall_seconds=wall,
        turn_p50=statistics.median(step.seconds for step in steps),
        turn_max=max(step.seconds for step in steps),
        server_cpu_seconds=cpu,
        steps=tuple(steps),
    )


def main() -> int:
    default = Sizes()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_server_options(parser, context=8192)
    parser.add_argument("--turns", type=int, default=default.num_turns, help="of each agent")
    parser.add_argument("--system-words", type=int, default=default.system)
    parser.add_argument("--result-words", type=int, default=default.result)
    parser.add_argument("--output-tokens", type=int, default=24, help="dropped as a thought")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sizes = Sizes(num_turns=options.turns, system=options.system_words, result=options.result_words)
    try:
        encoder = PromptEncoder(options.model_file)
    except ValueError as error:
        parser.error(str(error))

    def measure(server: Server, values: Values, folder: Path, number: int) -> Result:
        with started(server, values, folder) as run:
            before, begun = usage_of(run.pid), time.monotonic()
            steps = asyncio.run(
                run_loop(
                    run,
                    encoder,
                    sizes,
                    seed=options.seed + number,
                    num_output_tokens=options.output_tokens,
                )
            )
            wall, after = time.monotonic() - begun, usage_of(run.pid)
        cpu = after.cpu_seconds - before.cpu_seconds if after and before else None
        return summarize(steps, wall, cpu)

    try:
        return report_in_turn(options, measure, METRICS)
    finally:
        encoder.close()


if __name__ == "__main__":
    sys.exit(main())
