"""One who chats beside one who sends a long prompt: what each costs the other.

    python benchmarks/chatter.py --model-file model.gguf --rounds 3 \\
        --server "llmd=llmd serve {model} --port {port} --threads {threads} --ctx-size {context}"

A server is started twice in a round: first the chatter streams alone and then the long prompt is
read alone; then, in a fresh process, the chatter streams and the prompt comes in the middle of it.
Beside the prompt those gaps count that overlap its time, from sending it to its only token.
Commands are filled in as compare.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from connection import Address, Connection
from load import Load, PromptMaker, exchange, find_rate
from report import Exchange, percentile
from server import Server, Values, add_server_options, report_in_turn, started

WARM_TOKENS = 8
"""The chatter has so many before the prompt is sent."""


@dataclass(frozen=True, slots=True)
class Result:
    """Gaps between the chatter's tokens in milliseconds, the long prompt's times in seconds."""

    gap_p50_alone: float
    gap_p95_alone: float
    gap_max_alone: float
    gap_p50_beside: float
    gap_p95_beside: float
    gap_max_beside: float
    num_gaps_beside: int
    num_prompt_tokens: int | None
    num_cached_tokens: int | None
    """Of the long prompt beside the chatter; anything but 0 spoils the measurement."""
    prompt_alone: float
    prompt_beside: float
    prompt_slowdown: float
    seconds_unattended: float
    """How long the prompt was read when the chatter had ended before it; should be 0."""


METRICS = {
    "gap_p50_alone": ("chatter alone: gap p50, ms", ".1f"),
    "gap_p95_alone": ("  p95", ".1f"),
    "gap_max_alone": ("  worst", ".1f"),
    "gap_p50_beside": ("chatter beside: gap p50, ms", ".1f"),
    "gap_p95_beside": ("  p95", ".1f"),
    "gap_max_beside": ("  worst", ".1f"),
    "num_gaps_beside": ("  gaps counted", "d"),
    "num_prompt_tokens": ("long prompt, tokens", "d"),
    "num_cached_tokens": ("  of them cached", "d"),
    "prompt_alone": ("  alone, s", ".2f"),
    "prompt_beside": ("  beside the chatter, s", ".2f"),
    "prompt_slowdown": ("  beside / alone", ".2f"),
    "seconds_unattended": ("  after the chatter's end, s", ".2f"),
}


def gaps_within(arrivals: Sequence[float], begin: float, end: float) -> list[float]:
    """Milliseconds between arrivals, of every gap that has some time in common with the span."""
    pairs = zip(arrivals, arrivals[1:], strict=False)
    return [(after - before) * 1000 for before, after in pairs if before < end and after > begin]


class Pair:
    """The chatter's and the long prompt's requests, for one server."""

    def __init__(self, address: Address, chat: Load, prompt: Load) -> None:
        self._address = address
        self._chat = chat
        self._prompt = prompt

    async def alone(self) -> tuple[Exchange, Exchange]:
        """The chatter and then the long prompt, each with nobody beside it."""
        chat_body, prompt_body = await self._bodies()
        return (
            await self._send(chat_body, Exchange(0.0)),
            await self._send(prompt_body, Exchange(0.0)),
        )

    async def beside(self) -> tuple[Exchange, Exchange]:
        """Both at once; the chatter is cut off soon after the prompt's answer."""
        chat_body, prompt_body = await self._bodies()
        chat, prompt = Exchange(0.0), Exchange(0.0)
        chatter = asyncio.create_task(self._send(chat_body, chat))
        await _wait_for_tokens(chat, WARM_TOKENS, chatter)
        await self._send(prompt_body, prompt)
        # The gap in which the answer came has to be closed by a token.
        await _wait_for_tokens(chat, len(chat.arrivals) + 2, chatter)
        chatter.cancel()
        await asyncio.gather(chatter, return_exceptions=True)
        return chat, prompt

    async def _bodies(self) -> tuple[bytes, bytes]:
        rate = await find_rate(self._address, self._chat)
        return PromptMaker(self._chat, rate).body(0), PromptMaker(self._prompt, rate).body(0)

    async def _send(self, body: bytes, into: Exchange) -> Exchange:
        connection = Connection(self._address)
        try:
            await exchange(connection, body, into=into)
        finally:
            await connection.close()
        if into.error:
            raise RuntimeError(f"a request was not answered: {into.error}")
        return into


async def _wait_for_tokens(
    chat: Exchange, num_tokens: int, chatter: asyncio.Task[Exchange]
) -> None:
    """Until there are so many, or the chatter has ended; RuntimeError where it was refused."""
    while not chatter.done():
        if len(chat.arrivals) >= num_tokens:
            return
        await asyncio.sleep(0.01)
    chatter.result()


def summarize(alone: tuple[Exchange, Exchange], beside: tuple[Exchange, Exchange]) -> Result:
    """RuntimeError where the chatter had too few tokens for a gap."""
    chat, prompt = beside
    gaps_alone = [gap * 1000 for gap in alone[0].gaps]
    gaps_beside = gaps_within(chat.arrivals, prompt.started, prompt.ended)
    if not gaps_alone or not gaps_beside:
        raise RuntimeError("the chatter got no tokens beside the prompt; raise --chat-limit")
    prompt_alone = alone[1].ended - alone[1].started
    prompt_beside = prompt.ended - prompt.started
    return Result(
        gap_p50_alone=percentile(gaps_alone, 0.5),
        gap_p95_alone=percentile(gaps_alone, 0.95),
        gap_max_alone=max(gaps_alone),
        gap_p50_beside=percentile(gaps_beside, 0.5),
        gap_p95_beside=percentile(gaps_beside, 0.95),
        gap_max_beside=max(gaps_beside),
        num_gaps_beside=len(gaps_beside),
        num_prompt_tokens=prompt.num_prompt_tokens or None,
        num_cached_tokens=prompt.num_cached_tokens,
        prompt_alone=prompt_alone,
        prompt_beside=prompt_beside,
        prompt_slowdown=prompt_beside / prompt_alone,
        seconds_unattended=max(0.0, prompt.ended - chat.arrivals[-1]),
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_server_options(parser, context=8192)
    parser.add_argument("--prompt-tokens", type=int, default=6000, help="of the long prompt")
    parser.add_argument("--chat-tokens", type=int, default=200, help="of the chatter alone")
    parser.add_argument("--chat-limit", type=int, default=4000, help="of the chatter beside")
    parser.add_argument("--ignore-eos", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chat = Load(
        num_prompt_tokens=32, ignore_eos=options.ignore_eos, num_output_tokens=options.chat_tokens
    )
    endless = replace(chat, num_output_tokens=options.chat_limit)
    prompt = Load(num_prompt_tokens=options.prompt_tokens, num_output_tokens=1)

    def measure(server: Server, values: Values, folder: Path, number: int) -> Result:
        seed = options.seed + 2 * number
        with started(server, values, folder) as run:
            pair = Pair(run.address, replace(chat, seed=seed), replace(prompt, seed=seed + 1))
            alone = asyncio.run(pair.alone())
        with started(server, values, folder) as run:
            pair = Pair(run.address, replace(endless, seed=seed), replace(prompt, seed=seed + 1))
            beside = asyncio.run(pair.beside())
        return summarize(alone, beside)

    return report_in_turn(options, measure, METRICS)


if __name__ == "__main__":
    sys.exit(main())
