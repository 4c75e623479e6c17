"""A load generator for any OpenAI-compatible server on this machine.

    python benchmarks/load.py --url http://127.0.0.1:8080 --clients 4 --requests 16 \\
        --prompt-tokens 256 --output-tokens 64

Each of the clients sends one request after the other. Two small requests come first, which find
how many tokens the server makes of a word, so that prompts have the length asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from connection import Address, Connection, EventSplitter
from process import usage_of
from report import Exchange, Report, format_report, summarize
from words import WORDS

MAX_CLIENTS = 1024
MAX_REQUESTS = 100_000

ROUTES = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}

# A look at the bytes is enough to tell that an event carries text, and far cheaper than JSON.
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|arguments)": ?"(?!")')
_ERROR = re.compile(rb'^\{"error"')


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. Token counts are those of one request; `shared_prefix` is part of none."""

    num_clients: int = 1
    num_requests: int = 4
    num_prompt_tokens: int = 128
    num_output_tokens: int = 64
    num_shared_tokens: int = 0
    num_prompts: int = 0
    """How many different prompts to take in turn; 0 makes every prompt different."""
    api: str = "chat"
    stream: bool = True
    ignore_eos: bool = False
    temperature: float = 0.7
    seed: int = 0
    model: str = "default"
    timeout: float = 600.0
    """Seconds for the whole run; what is then unfinished counts as an error."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request body."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many tokens a server makes of words: `overhead` + `per_word` * words."""

    per_word: float
    overhead: float

    def words_for(self, num_tokens: int) -> int:
        return max(1, round((num_tokens - self.overhead) / self.per_word))


class PromptMaker:
    """Prompts of random words; the same seed makes the same prompts."""

    def __init__(self, load: Load, rate: Rate) -> None:
        self._load = load
        shared = Random(f"shared {load.seed}")
        num_shared = round(load.num_shared_tokens / rate.per_word)
        self._shared = " ".join(shared.choices(WORDS, k=num_shared))
        self._num_words = rate.words_for(load.num_prompt_tokens)

    def body(self, number: int) -> bytes:
        """The body of the request `number`, from 0."""
        which = number % self._load.num_prompts if self._load.num_prompts else number
        words = Random(f"prompt {self._load.seed} {which}").choices(WORDS, k=self._num_words)
        return request_body(
            self._load,
            " ".join(words),
            shared=self._shared,
            num_output_tokens=self._load.num_output_tokens,
            stream=self._load.stream,
            seed=self._load.seed + number,
        )


def request_body(
    load: Load, text: str, *, shared: str, num_output_tokens: int, stream: bool, seed: int
) -> bytes:
    body: dict[str, Any] = {
        "model": load.model,
        "max_tokens": num_output_tokens,
        "temperature": load.temperature,
        "seed": seed,
        "stream": stream,
    }
    if load.api == "chat":
        body["messages"] = [{"role": "system", "content": shared}] if shared else []
        body["messages"].append({"role": "user", "content": text})
    else:
        body["prompt"] = f"{shared} {text}" if shared else text
    if stream:
        body["stream_options"] = {"include_usage": True}
    if load.ignore_eos:
        body["ignore_eos"] = True
    return json.dumps(body | dict(load.extra)).encode()


async def exchange(
    connection: Connection, body: bytes, *, api: str = "chat", into: Exchange | None = None
) -> Exchange:
    """Send one request and time its answer, as it arrives, into `into` where that is given.

    Never raises but for cancellation, after which the connection must be closed: see `error`.
    """
    result = into or Exchange(0.0)
    result.started = time.monotonic()
    try:
        response = await connection.request("POST", ROUTES[api], body)
        if response.status != 200:
            result.error = f"status {response.status}"
            await response.read()
        elif b'"stream": true' in body:
            splitter = EventSplitter()
            async for piece in response.stream():
                arrival = time.monotonic()
                for event in splitter.feed(piece):
                    _take_event(result, event, arrival)
        else:
            answer = await response.read()
            result.arrivals.append(time.monotonic())
            result.text = _text_of(_take_usage(result, answer))
    except (OSError, EOFError, ValueError) as error:
        result.error = type(error).__name__
        await connection.close()
    result.ended = time.monotonic()
    # Without usage in the stream, an event with text is the best guess at a token.
    result.num_output_tokens = result.num_output_tokens or len(result.arrivals)
    return result


def _take_event(result: Exchange, event: bytes, arrival: float) -> None:
    if _TEXT.search(event):
        result.arrivals.append(arrival)
    if b'"completion_tokens"' in event:
        _take_usage(result, event)
    elif _ERROR.match(event):
        result.error = "error in the stream"


def _take_usage(result: Exchange, data: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(data)
    usage = answer.get("usage") or {}
    num_prompt = result.num_prompt_tokens = usage.get("prompt_tokens") or 0
    result.num_output_tokens = usage.get("completion_tokens") or 0
    num_cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    result.num_cached_tokens = num_cached
    # llama-server's own count, where there is one, is not a difference of two others.
    num_computed = (answer.get("timings") or {}).get("prompt_n")
    if num_computed is None and num_cached is not None:
        num_computed = num_prompt - num_cached
    result.num_computed_tokens = num_computed
    return answer


def _text_of(answer: dict[str, Any]) -> str:
    """What the model wrote, thoughts first."""
    choice = (answer.get("choices") or [{}])[0]
    message = choice.get("message") or {"content": choice.get("text")}
    return (message.get("reasoning_content") or "") + (message.get("content") or "")


async def find_rate(address: Address, load: Load) -> Rate:
    """Ask for one token on two prompts. RuntimeError where the server does not answer."""
    connection = Connection(address)
    counts = []
    for num_words in (16, 80):
        text = " ".join(Random(num_words).choices(WORDS, k=num_words))
        body = request_body(load, text, shared="", num_output_tokens=1, stream=False, seed=0)
        result = await exchange(connection, body, api=load.api)
        counts.append(result.num_prompt_tokens)
        if result.error or not result.num_prompt_tokens:
            await connection.close()
            raise RuntimeError(f"the server did not answer: {result.error or 'no usage'}")
    await connection.close()
    per_word = (counts[1] - counts[0]) / 64
    return Rate(per_word, counts[0] - 16 * per_word)


async def _drive(address: Address, load: Load, rate: Rate, exchanges: list[Exchange]) -> None:
    prompts = PromptMaker(load, rate)
    numbers = iter(range(load.num_requests))

    async def run_client() -> None:
        connection = Connection(address)
        try:
            for number in numbers:
                body = prompts.body(number)
                exchanges.append(await exchange(connection, body, api=load.api))
        finally:
            await connection.close()

    async with asyncio.timeout(load.timeout), asyncio.TaskGroup() as clients:
        for _ in range(load.num_clients):
            clients.create_task(run_client())


async def measure(address: Address, load: Load, *, server_pid: int | None = None) -> Report:
    """Put the load on the server and report. RuntimeError where the server does not answer."""
    rate = await find_rate(address, load)
    exchanges: list[Exchange] = []
    before = usage_of(server_pid) if server_pid is not None else None
    cpu, started = time.process_time(), time.monotonic()
    try:
        await _drive(address, load, rate, exchanges)
    except TimeoutError:
        missing = load.num_requests - len(exchanges)
        exchanges += [Exchange(started, error="run timed out") for _ in range(missing)]
    wall_seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    after = usage_of(server_pid) if server_pid is not None else None
    return summarize(
        exchanges,
        wall_seconds=wall_seconds,
        client_cpu_seconds=cpu_seconds,
        server_cpu_seconds=after.cpu_seconds - before.cpu_seconds if after and before else None,
        server_peak_mib=after.peak_mib if after else None,
        server_anonymous_mib=after.anonymous_mib if after else None,
    )


def _count(maximum: int) -> Any:
    def parse(text: str) -> int:
        value = int(text)
        if not 0 <= value <= maximum:
            raise argparse.ArgumentTypeError(f"must be from 0 to {maximum}")
        return value

    return parse


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """The options that `load_from` reads."""
    default = Load()
    parser.add_argument("--clients", type=_count(MAX_CLIENTS), default=default.num_clients)
    parser.add_argument("--requests", type=_count(MAX_REQUESTS), default=default.num_requests)
    parser.add_argument("--prompt-tokens", type=int, default=default.num_prompt_tokens)
    parser.add_argument("--output-tokens", type=int, default=default.num_output_tokens)
    parser.add_argument("--shared-prefix", type=int, default=0, help="tokens before each prompt")
    parser.add_argument("--distinct", type=int, default=0, help="number of prompts; 0: no repeat")
    parser.add_argument("--api", choices=ROUTES, default=default.api)
    parser.add_argument("--stream", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--ignore-eos", action="store_true")
    parser.add_argument("--temperature", type=float, default=default.temperature)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--model", default=default.model, help="the model field of requests")
    parser.add_argument("--timeout", type=float, default=default.timeout, help="of the run, s")
    parser.add_argument("--extra", type=json.loads, default={}, help="more body fields, as JSON")


def load_from(options: argparse.Namespace) -> Load:
    return Load(
        num_clients=options.clients,
        num_requests=options.requests,
        num_prompt_tokens=options.prompt_tokens,
        num_output_tokens=options.output_tokens,
        num_shared_tokens=options.shared_prefix,
        num_prompts=options.distinct,
        api=options.api,
        stream=options.stream,
        ignore_eos=options.ignore_eos,
        temperature=options.temperature,
        seed=options.seed,
        model=options.model,
        timeout=options.timeout,
        extra=options.extra,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Put load on an OpenAI-compatible server.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--server-pid", type=int, help="measure this process too")
    add_load_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        address = Address.parse(options.url)
        report = asyncio.run(measure(address, load_from(options), server_pid=options.server_pid))
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(report)) if options.json else format_report(report))
    return 1 if report.num_errors else 0


if __name__ == "__main__":
    sys.exit(main())
