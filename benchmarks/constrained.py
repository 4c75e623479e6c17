"""What a constraint costs, and what jump-forward gains.

    python benchmarks/constrained.py MODEL [--sequences 1 4 16] [--tokens 64] [--rounds 3]
        [--variants free text records keys jumping] [--json]

Runs the engine itself, all sequences at once, first free, then held to JSON schemas of three kinds:

- text: one long string. Nearly every draw is allowed, as with a model that knows JSON.
- records: numbers and booleans, without jump-forward. A model of random weights is refused nearly
  every draw, so that nearly every token costs a mask: the worst case.
- keys: long keys with short values, without and with jump-forward.

Rounds are interleaved; a ratio is the median over rounds of tokens/s over those of the same round.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from step import DecodeClock

from llmd.config.settings import ModelSettings
from llmd.core.grammar import GrammarSource
from llmd.core.sampling import SamplingParams
from llmd.engine.engine import Engine
from llmd.engine.grammar import CompiledGrammar, Constraint
from llmd.engine.loading import LoadedModel, load_engine
from llmd.engine.request import Request

PROMPT_TOKENS = 4
ENDLESS = 100_000
"""Items, so that no answer ends by itself."""

KEYS = (
    "name of the person who is to be asked first",
    "number of people who live in this house now",
    "place where the water of the land comes from",
    "time of the year when the work is to be done",
)


@dataclass(frozen=True, slots=True)
class Variant:
    """What the sequences are held to, and how it compares."""

    name: str
    schema: dict[str, Any] | None = None
    jumps: bool = True
    over: str = "free"


def list_of(**item: Any) -> dict[str, Any]:
    """A schema of JSON without blanks: a list of such items."""
    return {
        "type": "array",
        "items": item,
        "minItems": ENDLESS,
        "x-guidance": {"whitespace_flexible": False},
    }


def object_of(properties: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


RECORD = object_of(
    {"a": {"type": "integer"}, "b": {"type": "boolean"}, "c": {"enum": ["red", "green", "blue"]}}
)
LONG_KEYS = object_of(dict.fromkeys(KEYS, {"type": "integer", "minimum": 1, "maximum": 9}))

VARIANTS = (
    Variant("free"),
    Variant("text", list_of(type="string"), jumps=False),
    Variant("records", list_of(**RECORD), jumps=False),
    Variant("keys", list_of(**LONG_KEYS), jumps=False),
    Variant("jumping", list_of(**LONG_KEYS), over="keys"),
)


@dataclass(frozen=True, slots=True)
class Round:
    """From when every sequence has begun until all have ended."""

    num_tokens: int
    num_steps: int
    seconds: float
    cpu_seconds: float
    own_seconds: float
    """Processor time of the engine's thread outside llama_decode: what others do on the machine
    hardly shows in it.
    """

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Measurement:
    num_sequences: int
    variant: str
    tokens_per_second: float
    ratio: float
    over: str
    tokens_per_step: float
    cpu_ms_per_token: float
    own_us_per_token: float


class Bench:
    """One loaded model, and the grammars compiled for it."""

    def __init__(self, path: Path, options: argparse.Namespace) -> None:
        settings = ModelSettings(
            source=str(path),
            ctx_size=2048,
            kv_tokens=2048 * 8,
            parallel=max(options.sequences),
            threads=options.threads,
        )
        engine, model = load_engine(path, settings, lambda _: True)
        assert isinstance(engine, Engine), "a model that writes"
        self.engine: Engine = engine
        self.model: LoadedModel = model
        self._clock = DecodeClock()
        self._sampling = SamplingParams(temperature=options.temperature)
        self._num_tokens = options.tokens
        self._grammars = {each.name: self._compile(each) for each in VARIANTS}

    def run(self, variant: Variant, num_sequences: int, seed: int) -> Round:
        """Let so many sequences write their tokens."""
        for number in range(num_sequences):
            first = 1000 + seed * 100 + number
            self.engine.add(
                Request(
                    id=str(number),
                    prompts=(tuple(range(first, first + PROMPT_TOKENS)),),
                    sampling=self._sampling,
                    seed=seed * 100 + number,
                    max_tokens=self._num_tokens,
                    cache_prompt=False,
                    grammar=self._grammars[variant.name],
                )
            )
        with jump_forward(variant.jumps):
            begun: set[str] = set()
            while len(begun) < num_sequences:
                begun |= {output.request_id for output in self.engine.step()}
            return self._measure()

    def close(self) -> None:
        self._clock.stop()
        self.engine.close()

    def _compile(self, variant: Variant) -> CompiledGrammar | None:
        if variant.schema is None:
            return None
        source = GrammarSource("json_schema", json.dumps(variant.schema))
        return self.model.grammars.compile(source)

    def _measure(self) -> Round:
        clock = self._clock
        num_tokens, num_decodes, inside = 0, len(clock.spans), clock.thread_seconds
        cpu, thread, started = time.process_time(), time.thread_time(), time.perf_counter()
        while not self.engine.is_idle:
            for output in self.engine.step():
                assert output.error is None, output.error
                num_tokens += output.num_tokens
        return Round(
            num_tokens=num_tokens,
            num_steps=len(clock.spans) - num_decodes,
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu,
            own_seconds=time.thread_time() - thread - (clock.thread_seconds - inside),
        )


@contextmanager
def jump_forward(wanted: bool) -> Iterator[None]:
    """Turns it off by letting no grammar force anything; drawing goes on under its mask."""
    forced = Constraint.forced
    if not wanted:
        Constraint.forced = lambda self: []  # type: ignore[method-assign]
    try:
        yield
    finally:
        Constraint.forced = forced  # type: ignore[method-assign]


def measure(
    bench: Bench, num_sequences: int, num_rounds: int, variants: Sequence[Variant] = VARIANTS
) -> list[Measurement]:
    """`variants` hold those that the others are compared with."""
    rounds: dict[str, list[Round]] = {each.name: [] for each in variants}
    for seed in range(num_rounds):
        # There and back again, so that a drift of the machine favours nobody.
        for variant in variants if seed % 2 else reversed(variants):
            rounds[variant.name].append(bench.run(variant, num_sequences, seed))
    return [_summary(num_sequences, variant, rounds) for variant in variants]


def _summary(num_sequences: int, variant: Variant, rounds: dict[str, list[Round]]) -> Measurement:
    mine, others = rounds[variant.name], rounds[variant.over]
    num_tokens = sum(each.num_tokens for each in mine)
    return Measurement(
        num_sequences=num_sequences,
        variant=variant.name,
        tokens_per_second=median(each.tokens_per_second for each in mine),
        ratio=median(
            each.tokens_per_second / other.tokens_per_second
            for each, other in zip(mine, others, strict=True)
        ),
        over=variant.over,
        tokens_per_step=num_tokens / sum(each.num_steps for each in mine) / num_sequences,
        cpu_ms_per_token=sum(each.cpu_seconds for each in mine) / num_tokens * 1e3,
        own_us_per_token=sum(each.own_seconds for each in mine) / num_tokens * 1e6,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--variants", nargs="+", default=names, choices=names)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wanted = {"free", *options.variants}
    wanted |= {variant.over for variant in VARIANTS if variant.name in wanted}
    variants = [variant for variant in VARIANTS if variant.name in wanted]
    bench = Bench(options.model, options)
    try:
        bench.run(VARIANTS[0], 1, 0)  # warm-up
        rows = [
            row
            for number in options.sequences
            for row in measure(bench, number, options.rounds, variants)
        ]
    finally:
        bench.close()
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    print("sequences  variant  tokens/s   ratio  over   tokens/step  CPU ms/token    own us")
    for row in rows:
        print(
            f"{row.num_sequences:9}  {row.variant:8}  {row.tokens_per_second:8.1f}  "
            f"{row.ratio:6.3f}  {row.over:5}  {row.tokens_per_step:11.2f}  "
            f"{row.cpu_ms_per_token:12.2f}  {row.own_us_per_token:10.0f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
