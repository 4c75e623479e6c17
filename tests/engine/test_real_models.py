"""The engine over real llama.cpp: what a sequence says does not depend on what runs beside it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import EXACT_SETTINGS

from llmd.core.grammar import GrammarSource
from llmd.core.output import FinishReason
from llmd.core.sampling import SamplingParams
from llmd.engine.engine import Engine
from llmd.engine.loading import LoadedModel, load_engine
from llmd.engine.request import Request

pytestmark = pytest.mark.gguf

KINDS = ("llama", "gemma3", "mamba", "lfm2")
PROMPTS = tuple(
    f"here is the number {index} of all the words and it is {word}"
    for index, word in enumerate(("water", "house", "land", "sea", "air", "hand", "eye", "year"))
)
NUM_TOKENS = 40
GREEDY = SamplingParams(temperature=0)


@contextmanager
def loaded(path: Path, **fields: Any) -> Iterator[tuple[Engine, LoadedModel]]:
    settings = EXACT_SETTINGS.model_copy(update=fields)
    engine, model = load_engine(path, settings, lambda share: True)
    assert isinstance(engine, Engine)
    try:
        yield engine, model
    finally:
        engine.close()


def request(model: LoadedModel, id: str, *prompts: str, **fields: Any) -> Request:
    encode = model.tokenizer.encode
    values: dict[str, Any] = {
        "id": id,
        "prompts": tuple(tuple(encode(p, add_special=True, parse_special=True)) for p in prompts),
        "sampling": GREEDY,
        "seed": 1,
        "max_tokens": NUM_TOKENS,
        **fields,
    }
    return Request(**values)


def run(engine: Engine, aborts: dict[int, str] | None = None) -> dict[tuple[str, int], str]:
    """Texts by request and sequence. `aborts`: which request leaves before which step."""
    texts: dict[tuple[str, int], str] = defaultdict(str)
    for step in range(4000):
        if aborts and step in aborts:
            engine.abort(aborts[step])
        if engine.is_idle:
            return texts
        for output in engine.step():
            assert output.finish_reason is not FinishReason.ERROR, output.error
            texts[output.request_id, output.index] += output.text
    raise AssertionError("not idle in time")


@pytest.fixture(scope="module", params=KINDS)
def path(zoo: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return zoo[request.param]


def texts_alone(engine: Engine, model: LoadedModel) -> list[str]:
    found = []
    for prompt in PROMPTS:
        engine.add(request(model, "alone", prompt))
        found.append(run(engine)["alone", 0])
    assert len(set(found)) == len(PROMPTS), "the model does not listen to its prompt"
    return found


def test_text_is_the_same_alone_and_beside_seven_others(path: Path) -> None:
    with loaded(path) as (engine, model):
        alone = texts_alone(engine, model)
        for index, prompt in enumerate(PROMPTS):
            engine.add(request(model, str(index), prompt))
        together = run(engine)
    assert [together[str(index), 0] for index in range(len(PROMPTS))] == alone


def test_text_is_the_same_after_being_set_back(path: Path) -> None:
    with loaded(path, kv_tokens=512) as (engine, model):
        alone = texts_alone(engine, model)
        for index, prompt in enumerate(PROMPTS):
            engine.add(request(model, str(index), prompt))
        texts: dict[tuple[str, int], str] = defaultdict(str)
        step = 0
        while not engine.is_idle:
            if step % 9 == 8 and len(engine._scheduler.running) > 1:
                engine._scheduler.set_back_youngest()
            for output in engine.step():
                texts[output.request_id, output.index] += output.text
            step += 1
        assert engine.stats().num_set_back > 3
    assert [texts[str(index), 0] for index in range(len(PROMPTS))] == alone


def test_text_is_the_same_when_others_leave(path: Path) -> None:
    with loaded(path) as (engine, model):
        alone = texts_alone(engine, model)
        for index, prompt in enumerate(PROMPTS):
            engine.add(request(model, str(index), prompt))
        leaving = {1: "1", 2: "4", 11: "7", 25: "2"}
        together = run(engine, leaving)
    for index in (0, 3, 5, 6):
        assert together[str(index), 0] == alone[index]


def test_a_small_step_budget_changes_no_text(path: Path) -> None:
    with loaded(path) as (engine, model):
        alone = texts_alone(engine, model)
    with loaded(path, batch_size=8, ubatch_size=8) as (engine, model):
        for index, prompt in enumerate(PROMPTS):
            engine.add(request(model, str(index), prompt))
        together = run(engine)
    assert [together[str(index), 0] for index in range(len(PROMPTS))] == alone


def test_choices_differ_and_repeat_by_their_seed(llama_path: Path) -> None:
    hot = SamplingParams(temperature=1.0)
    with loaded(llama_path) as (engine, model):
        answers = []
        for seed in (5, 5, 900):
            engine.add(request(model, "a", PROMPTS[0], sampling=hot, seed=seed, num_choices=3))
            answers.append(run(engine))
    assert answers[0] == answers[1] != answers[2]
    assert len(set(answers[0].values())) == 3


def test_a_full_context_ends_with_length(llama_path: Path) -> None:
    with loaded(llama_path, ctx_size=64, kv_tokens=256) as (engine, model):
        engine.add(request(model, "a", PROMPTS[0], max_tokens=None))
        last = None
        num_tokens = 0
        while not engine.is_idle:
            for last in engine.step():
                num_tokens += last.num_tokens
        num_prompt = len(request(model, "a", PROMPTS[0]).prompts[0])
    assert last is not None and last.finish_reason is FinishReason.LENGTH
    assert num_tokens == 64 - num_prompt


def test_prompt_logprobs_are_those_of_the_answer_to_the_same_text(llama_path: Path) -> None:
    with loaded(llama_path) as (engine, model):
        engine.add(request(model, "a", PROMPTS[0], max_tokens=6, top_logprobs=0))
        said = [score for _ in range(6) for o in engine.step() for score in o.logprobs]
        prompt = (*request(model, "a", PROMPTS[0]).prompts[0],
                  *(score.chosen.token_id for score in said))  # fmt: skip
        scored = request(model, "b", top_logprobs=0, prompt_logprobs=True, max_tokens=1)
        scored = Request(
            **{f: getattr(scored, f) for f in scored.__slots__} | {"prompts": (prompt,)}
        )
        engine.add(scored)
        scores = [s for _ in range(9) if not engine.is_idle for o in engine.step()
                  for s in o.prompt_logprobs]  # fmt: skip
    assert len(scores) == len(prompt) and scores[0] is None
    for mine, theirs in zip(scores[-6:], said, strict=True):
        assert mine is not None
        assert mine.chosen.token_id == theirs.chosen.token_id
        assert mine.chosen.logprob == pytest.approx(theirs.chosen.logprob, abs=1e-3)


def test_broken_utf8_comes_out_as_replacement_characters(zoo: dict[str, Path]) -> None:
    with loaded(zoo["bytes"]) as (engine, model):
        engine.add(request(model, "a", "x", max_tokens=64))
        text = run(engine)["a", 0]
    assert "\ufffd" in text
    text.encode()  # and no lone surrogates


def scores(engine: Engine, id: str) -> list[float]:
    """The logprobs of a request's answer, bit by bit."""
    found: list[float] = []
    for _ in range(4000):
        if engine.is_idle:
            return found
        for output in engine.step():
            assert output.finish_reason is not FinishReason.ERROR, output.error
            if output.request_id == id:
                found += [each.chosen.logprob for each in output.logprobs]
    raise AssertionError("not idle in time")


@pytest.mark.parametrize("flash_attn", ["auto", "off"])
def test_a_deterministic_request_gives_the_same_bits_beside_others(
    path: Path, flash_attn: str
) -> None:
    fields = {"cache_type_k": "f16", "cache_type_v": "f16", "flash_attn": flash_attn}
    with loaded(path, **fields) as (engine, model):
        exact: dict[str, Any] = {"top_logprobs": 0, "deterministic": True}
        engine.add(request(model, "exact", PROMPTS[0] * 4, **exact))
        alone = scores(engine, "exact")
        for index, prompt in enumerate(PROMPTS):
            engine.add(request(model, str(index), prompt, max_tokens=5 + index * 4))
            engine.step()
        engine.add(request(model, "exact", PROMPTS[0] * 4, **exact))
        beside = scores(engine, "exact")
    assert len(alone) == NUM_TOKENS
    assert beside == alone


SCHEMA = {
    "type": "object",
    "properties": {
        "name of the person": {"type": "string", "maxLength": 12},
        "number of the house": {"type": "integer", "minimum": 0, "maximum": 9999},
        "kind": {"enum": ["water", "land", "air"]},
    },
    "required": ["name of the person", "number of the house", "kind"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}


def held_to_schema(model: LoadedModel, id: str, prompt: str, **fields: Any) -> Request:
    grammar = model.grammars.compile(GrammarSource("json_schema", json.dumps(SCHEMA)))
    return request(model, id, prompt, grammar=grammar, max_tokens=200, **fields)


def test_answers_to_a_schema_are_the_same_alone_and_beside_others_and_set_back(path: Path) -> None:
    with loaded(path) as (engine, model):
        alone = []
        for prompt in PROMPTS:
            engine.add(held_to_schema(model, "alone", prompt))
            alone.append(run(engine)["alone", 0])
        for index, prompt in enumerate(PROMPTS):
            engine.add(held_to_schema(model, str(index), prompt))
        engine.add(request(model, "free", PROMPTS[0]))
        texts: dict[tuple[str, int], str] = defaultdict(str)
        for step in range(4000):
            if engine.is_idle:
                break
            if step in (6, 13, 20):
                engine._scheduler.set_back_youngest()
            for output in engine.step():
                texts[output.request_id, output.index] += output.text
    assert [texts[str(index), 0] for index in range(len(PROMPTS))] == alone
    for text in alone:
        assert list(json.loads(text)) == list(SCHEMA["properties"])  # type: ignore[call-overload]


def test_hot_answers_to_a_schema_are_valid_and_differ(llama_path: Path) -> None:
    hot = SamplingParams(temperature=1.5)
    with loaded(llama_path) as (engine, model):
        engine.add(held_to_schema(model, "a", PROMPTS[0], sampling=hot, num_choices=8))
        texts = list(run(engine).values())
    assert len(set(texts)) == 8
    for text in texts:
        found = json.loads(text)
        assert len(found["name of the person"]) <= 12
        assert 0 <= found["number of the house"] <= 9999
        assert found["kind"] in ("water", "land", "air")


@pytest.mark.parametrize("text", ["<tool_call>{", "the water", " of<think>the", "a<|im_start|>é b"])
def test_forced_text_is_cut_as_the_model_knows_it(path: Path, text: str) -> None:
    wanted = text + "x" * 40
    with loaded(path) as (_, model):
        source = GrammarSource("lark", f"start: {json.dumps(wanted)}")
        forced = model.grammars.compile(source).start().forced()
        whole = model.tokenizer.encode_inside(wanted, parse_special=True)
        spelled, own = (
            b"".join(map(model.tokenizer.token_bytes, token_ids)) for token_ids in (forced, whole)
        )
    assert spelled and wanted.encode().startswith(spelled)
    # SentencePiece vocabularies put a space behind special tokens, which is not in the text.
    assert forced == whole[: len(forced)] or own != wanted.encode()
