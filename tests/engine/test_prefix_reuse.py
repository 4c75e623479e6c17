"""Whatever is reused, from wherever: a model says what it says without a cache."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import EXACT_SETTINGS
from same_answer import assert_same_answer

from llmd.config.byte_size import ByteSize
from llmd.config.settings import ModelSettings
from llmd.core.output import FinishReason, Output, TokenLogprob
from llmd.core.sampling import SamplingParams
from llmd.engine.engine import Engine
from llmd.engine.loading import load_engine
from llmd.engine.request import PromptLayout, Request

pytestmark = pytest.mark.gguf

ROOMY = EXACT_SETTINGS.model_copy(update={"kv_tokens": 1024, "ctx_size": 256, "batch_size": 64})
TIGHT = ROOMY.model_copy(update={"kv_tokens": 512, "parallel": 3})
KINDS = [
    pytest.param("llama", {}, id="attention"),
    pytest.param("gemma3", {}, id="sliding-window"),
    pytest.param("gemma3", {"swa_full": False}, id="sliding-window-only"),
    pytest.param("lfm2", {}, id="hybrid"),
    pytest.param("mamba", {}, id="recurrent"),
]
NUM_TOKENS = 12


@dataclass(frozen=True)
class Asked:
    tokens: tuple[int, ...]
    ends: tuple[int, ...]
    scope: str = ""


@contextmanager
def loaded(path: Path, settings: ModelSettings, **fields: Any) -> Iterator[Engine]:
    engine, _ = load_engine(path, settings.model_copy(update=fields), lambda share: True)
    assert isinstance(engine, Engine)
    try:
        yield engine
    finally:
        engine.close()


def request(id: str, asked: Asked, **fields: Any) -> Request:
    return Request(
        id=id,
        prompts=(asked.tokens,),
        sampling=SamplingParams(temperature=0, logit_bias=()),
        seed=0,
        max_tokens=NUM_TOKENS,
        scope=asked.scope,
        layouts=(PromptLayout(message_ends=asked.ends),),
        top_logprobs=2,
        **fields,
    )


class Answers:
    """Tokens by request; a request that failed is an error here."""

    def __init__(self) -> None:
        self.tokens: dict[str, list[TokenLogprob]] = defaultdict(list)
        self.last: dict[str, Output] = {}

    def take(self, outputs: list[Output]) -> None:
        for output in outputs:
            assert output.finish_reason is not FinishReason.ERROR, output.error
            self.tokens[output.request_id] += output.logprobs
            if output.finish_reason is not None:
                self.last[output.request_id] = output

    def num_cached(self, id: str) -> int:
        timings = self.last[id].timings
        assert timings is not None
        return timings.num_cached


def finish(engine: Engine, answers: Answers) -> None:
    for _ in range(3000):
        if engine.is_idle:
            return
        answers.take(engine.step())
    raise AssertionError("not idle in time")


def conversation(draw: random.Random, others: list[Asked]) -> Asked:
    """A new prompt: an old one gone on, edited or cut, or one that shares nothing."""
    scope = draw.choice(("", "other"))
    base: tuple[int, ...] = ()
    known = [each for each in others if each.scope == scope]
    if known and draw.random() < 0.9:
        base = draw.choice(known).tokens[:150]
        if draw.random() < 0.4:
            base = base[: draw.randint(0, len(base))]
    tokens = base + tuple(draw.randrange(3, 200) for _ in range(draw.randint(1, 40)))
    ends = sorted({min(16, len(tokens)), max(1, len(tokens) - 3)})
    return Asked(tokens, tuple(ends), scope)


@pytest.mark.parametrize(("kind", "fields"), KINDS)
@pytest.mark.parametrize("settings", [ROOMY, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("cache_ram", [100_000, 2**28])
def test_answers_are_those_without_a_cache(
    zoo: dict[str, Path],
    kind: str,
    fields: dict[str, Any],
    settings: ModelSettings,
    cache_ram: int,
) -> None:
    draw = random.Random(f"{kind} {fields} {cache_ram}")
    asked: dict[str, Asked] = {}
    answers, gone = Answers(), set()
    with loaded(zoo[kind], settings, cache_ram=ByteSize(cache_ram), **fields) as engine:
        for _ in range(200):
            if len(asked) < 24 and draw.random() < 0.3:
                id = str(len(asked))
                asked[id] = conversation(draw, list(asked.values()))
                engine.add(request(id, asked[id]))
            if asked and draw.random() < 0.02:
                id = draw.choice(list(asked))
                if id not in answers.last:
                    engine.abort(id)
                    gone.add(id)
            answers.take(engine.step())
        finish(engine, answers)
        assert engine.stats().num_cached_tokens > 0
        assert sum(map(len, answers.tokens.values())) > NUM_TOKENS * 10
        for id in asked.keys() - gone:
            alone = Answers()
            engine.add(request("alone", asked[id], cache_prompt=False))
            finish(engine, alone)
            assert_same_answer(answers.tokens[id], alone.tokens["alone"])
            assert alone.num_cached("alone") == 0


@pytest.mark.parametrize(("kind", "fields"), KINDS)
def test_what_was_computed_outlives_the_daemon(
    zoo: dict[str, Path], tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    tokens = tuple(random.Random(7).randrange(3, 200) for _ in range(100))
    first, second = Asked(tokens, (20, 98), ""), Asked((*tokens[:98], 5, 6, 7), (20, 99), "")
    answers = Answers()
    for id, asked in (("before", first), ("after", second)):
        with loaded(zoo[kind], ROOMY, cache_dir=tmp_path / "cache", **fields) as engine:
            engine.add(request(id, asked))
            finish(engine, answers)
    with loaded(zoo[kind], ROOMY, **fields) as engine:
        engine.add(request("cold", second))
        finish(engine, answers)
    assert answers.num_cached("after") == 98
    assert answers.num_cached("cold") == 0
    assert_same_answer(answers.tokens["after"], answers.tokens["cold"])


@pytest.mark.parametrize(("kind", "fields"), KINDS)
def test_a_damaged_file_is_computed_again(
    zoo: dict[str, Path], tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    asked = Asked(tuple(random.Random(8).randrange(3, 200) for _ in range(80)), (20, 78), "")
    answers = Answers()
    with loaded(zoo[kind], ROOMY, cache_dir=tmp_path, **fields) as engine:
        engine.add(request("before", asked))
        finish(engine, answers)
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        data = bytearray(file.read_bytes())
        data[-10] ^= 1
        file.write_bytes(data)
    with loaded(zoo[kind], ROOMY, cache_dir=tmp_path, **fields) as engine:
        engine.add(request("after", asked))
        finish(engine, answers)
    assert answers.num_cached("after") == 0
    assert_same_answer(answers.tokens["after"], answers.tokens["before"])
