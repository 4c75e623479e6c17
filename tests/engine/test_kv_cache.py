from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from engine.test_engine import Collected, run
from fakes import (
    ATTENTION,
    HYBRID,
    RECURRENT,
    FakeRunner,
    continuation,
    fake_engine,
    fake_request,
)

from llmd.core.output import FinishReason, Output
from llmd.engine.batch import Batch
from llmd.engine.engine import Engine
from llmd.engine.kv_cache import PARK_AFTER
from llmd.engine.request import PromptLayout
from llmd.engine.sequence import Sequence
from llmd.llama.context import MemoryTraits

KINDS = [
    pytest.param(ATTENTION, id="attention"),
    pytest.param(HYBRID, id="hybrid"),
    pytest.param(RECURRENT, id="recurrent"),
]
RAM = 1 << 20


def cached(done: Collected, id: str) -> int:
    timings = done.last[id, 0].timings
    assert timings is not None
    return timings.num_cached


def ask(engine: Engine, id: str, prompt: str, **fields: object) -> Collected:
    engine.add(fake_request(id, prompt, **fields))
    return run(engine)


def test_a_prompt_that_continues_an_answer_computes_only_what_is_new() -> None:
    runner = FakeRunner(256)
    engine = fake_engine(runner, context_size=128)
    first = "question" + ask(engine, "a", "question").texts["a", 0]
    num_computed = runner.num_computed
    done = ask(engine, "b", first + " and now", max_tokens=4)
    assert done.texts["b", 0] == continuation(first + " and now", 4)
    # The last token of an answer was never computed: nothing followed it.
    assert cached(done, "b") == len(first) - 1
    assert runner.num_computed - num_computed == 1 + len(" and now") + 3


def test_the_same_prompt_computes_its_last_token_alone() -> None:
    engine = fake_engine(FakeRunner(256))
    ask(engine, "a", "the same words")
    assert cached(ask(engine, "b", "the same words"), "b") == len("the same words") - 1


@pytest.mark.parametrize("memory", KINDS)
def test_a_branch_goes_on_from_the_end_of_the_system_prompt(memory: MemoryTraits) -> None:
    runner = FakeRunner(512, memory=memory)
    engine = fake_engine(runner, context_size=128, cache_ram=RAM)
    system = "You are a helpful assistant. "
    layouts = (PromptLayout(message_ends=(len(system), len(system) + 5)),)
    ask(engine, "a", system + "Hello!", layouts=layouts)
    done = ask(engine, "b", system + "Bye ...", layouts=layouts)
    assert done.texts["b", 0] == continuation(system + "Bye ...", 8)
    assert cached(done, "b") == len(system)


@pytest.mark.parametrize("memory", KINDS)
def test_choices_share_the_computing_of_their_prompt(memory: MemoryTraits) -> None:
    runner = FakeRunner(512, memory=memory)
    engine = fake_engine(runner, context_size=128, cache_ram=RAM)
    prompt = "a prompt of forty characters or so......"
    done = ask(engine, "a", prompt, num_choices=3, max_tokens=2)
    assert all(done.texts["a", index] == continuation(prompt, 2) for index in range(3))
    assert runner.num_computed == len(prompt) + 2 + 3  # the last token for each, one step each


def test_a_newcomer_waits_for_the_one_that_computes_its_prefix() -> None:
    runner = FakeRunner(512)
    engine = fake_engine(runner, context_size=128, max_step_tokens=8)
    shared = "x" * 60
    engine.add(fake_request("a", shared + "one"))
    engine.step()
    engine.add(fake_request("b", shared + "two"))
    done = run(engine)
    assert done.texts["b", 0] == continuation(shared + "two", 8)
    assert cached(done, "b") == len(shared)


def test_a_newcomer_starts_alone_when_its_leader_is_cancelled() -> None:
    engine = fake_engine(FakeRunner(512), context_size=128, max_step_tokens=8)
    shared = "x" * 60
    engine.add(fake_request("a", shared + "one"))
    engine.step()
    engine.add(fake_request("b", shared + "two"))
    engine.step()
    engine.abort("a")
    done = run(engine)
    assert done.texts["b", 0] == continuation(shared + "two", 8)
    assert 0 < cached(done, "b") < len(shared), "what the leader left is used"


def test_a_newcomer_does_not_wait_for_a_leader_that_is_too_slow() -> None:
    engine = fake_engine(FakeRunner(512), context_size=128, max_step_tokens=8)
    engine.add(fake_request("a", "x" * 60 + "one", max_tokens=1, prompt_logprobs=False))
    engine.step()
    engine.add(fake_request("b", "x" * 60 + "two", max_tokens=1))
    (leader,) = engine._scheduler.running
    engine._scheduler.running.remove(leader)
    leader_stalls = [leader]
    engine._scheduler._plan_together = _without(leader_stalls, engine)  # type: ignore[method-assign,assignment]
    engine._scheduler.running.append(leader)
    outputs: list[Output] = []
    for _ in range(64):
        outputs += engine.step()
    assert [output.request_id for output in outputs] == ["b"]


def _without(stalled: list[Sequence], engine: Engine) -> Callable[[list[Sequence]], Batch]:
    """The scheduler's own plan, in which the stalled sequences get nothing."""
    plan = type(engine._scheduler)._plan_together
    return lambda running: plan(engine._scheduler, [s for s in running if s not in stalled])


@pytest.mark.parametrize("memory", KINDS)
@pytest.mark.parametrize(
    "second", [{"scope": "other"}, {"scope": "mine", "cache_prompt": False},
               {"scope": "mine", "deterministic": True}]
)  # fmt: skip
def test_nothing_is_reused(memory: MemoryTraits, second: dict[str, object]) -> None:
    engine = fake_engine(FakeRunner(512, memory=memory), cache_ram=RAM)
    ask(engine, "a", "a secret of mine", scope="mine")
    assert cached(ask(engine, "b", "a secret of mine", **second), "b") == 0


@pytest.mark.parametrize("field", ["cache_prompt", "deterministic"])
def test_nothing_is_kept_of_a_request_that_bypasses_the_cache(field: str) -> None:
    engine = fake_engine(FakeRunner(512))
    ask(engine, "a", "keep nothing", **{field: field == "deterministic"})
    stats = engine.stats()
    assert stats.num_free_cells == stats.num_cells


def test_an_idle_prefix_is_parked_when_others_have_worked_beside_it_for_long() -> None:
    runner = FakeRunner(512)
    engine = fake_engine(runner, context_size=256, cache_ram=RAM)
    first = "to be parked" + ask(engine, "a", "to be parked").texts["a", 0]
    ask(engine, "b", "x", max_tokens=PARK_AFTER + 8)
    assert engine.stats().num_parked_bytes > 0
    num_computed = runner.num_computed
    done = ask(engine, "c", first, max_tokens=1)
    assert cached(done, "c") == len(first) - 1
    assert runner.num_computed - num_computed == 1


@pytest.mark.parametrize("cache_ram", [0, RAM])
def test_idle_prefixes_make_room(cache_ram: int) -> None:
    runner = FakeRunner(64)
    engine = fake_engine(runner, cache_ram=cache_ram)
    texts = {}
    for id in "abcdef":
        done = ask(engine, id, id * 30)
        texts[id] = done.texts[id, 0]
        assert texts[id] == continuation(id * 30, 8)
    again = ask(engine, "g", "a" * 30)
    assert again.texts["g", 0] == texts["a"]
    assert cached(again, "g") == (29 if cache_ram else 0)


def test_a_set_back_sequence_takes_up_what_is_left_of_it() -> None:
    runner = FakeRunner(256)
    engine = fake_engine(runner, context_size=250)
    for id in "abc":
        engine.add(fake_request(id, f"prompt {id}", max_tokens=120))
    done = run(engine)
    assert engine.stats().num_set_back > 0
    assert all(done.texts[id, 0] == continuation(f"prompt {id}", 120) for id in "abc")
    assert all(cached(done, id) == 0 for id in "abc"), "its own work is no hit"


def test_what_failed_to_compute_is_not_kept() -> None:
    runner = FakeRunner(256)
    runner.poison = ord("!")
    engine = fake_engine(runner)
    done = ask(engine, "a", "a bad! prompt")
    assert done.reason("a") is FinishReason.ERROR
    runner.poison = None
    assert ask(engine, "b", "a bad! prompt").texts["b", 0] == continuation("a bad! prompt", 8)


class Conversations:
    """Clients that go on, edit, branch, repeat and leave, in a few scopes that say the same."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._said: dict[str, list[str]] = {scope: ["system. "] for scope in ("", "one", "two")}

    def prompt(self) -> tuple[str, str, tuple[int, ...]]:
        """A scope, a prompt, and the ends of its messages."""
        draw = self._draw
        scope = draw.choice(list(self._said))
        base = draw.choice(self._said[scope])[:90]
        if draw.random() < 0.3:
            base = base[: draw.randint(0, len(base))]
        text = base + "".join(draw.choice("ab") for _ in range(draw.randint(1, 12)))
        ends = sorted({min(8, len(text) - 1), draw.randint(1, len(text))})
        return scope, text, tuple(ends)

    def heard(self, scope: str, text: str) -> None:
        self._said[scope].append(text)


@pytest.mark.parametrize("memory", KINDS)
@pytest.mark.parametrize("cache_ram", [0, 700, RAM])
@pytest.mark.parametrize("seed", range(6))
def test_any_conversations_say_the_same_as_without_a_cache(
    memory: MemoryTraits, cache_ram: int, seed: int
) -> None:
    draw = random.Random(seed)
    runner = FakeRunner(draw.choice((130, 200, 400)), memory=memory)
    keepers = 6 if memory.cuts else 0
    engine = fake_engine(
        runner, context_size=128, cache_ram=cache_ram, num_keepers=keepers,
        max_step_tokens=draw.choice((8, 32)),
    )  # fmt: skip
    conversations = Conversations(draw)
    asked: dict[str, tuple[str, str, int]] = {}
    done = Collected()
    for step in range(120):
        if step < 90 and draw.random() < 0.4:
            scope, text, ends = conversations.prompt()
            id, num_tokens = str(step), draw.randint(1, 20)
            asked[id] = scope, text, num_tokens
            engine.add(
                fake_request(
                    id, text, scope=scope, tenant=scope, max_tokens=num_tokens,
                    layouts=(PromptLayout(message_ends=ends),),
                    cache_prompt=draw.random() < 0.9, deterministic=draw.random() < 0.05,
                    priority=draw.choice((0, 0, 1)),
                )
            )  # fmt: skip
        if asked and draw.random() < 0.05:
            id = draw.choice(list(asked))
            if (id, 0) not in done.last:
                engine.abort(id)
                del asked[id]
        outputs = engine.step()
        done.add(outputs)
        stats = engine.stats()
        if memory.has_cells:
            assert runner.num_used == stats.num_cells - stats.num_free_cells
        for output in outputs:
            if output.finish_reason is not None and output.request_id in asked:
                scope, text, _ = asked[output.request_id]
                conversations.heard(scope, text + done.texts[output.request_id, 0])
    rest = run(engine)
    for key, text in rest.texts.items():
        done.texts[key] += text
    for id, (_, text, num_tokens) in asked.items():
        assert done.texts[id, 0] == continuation(text, num_tokens)
    if cache_ram == RAM or memory.cuts:
        assert engine.stats().num_cached_tokens > 0
    assert engine.stats().num_parked_bytes <= cache_ram


@pytest.mark.parametrize(("prompt_seconds", "num_cached"), [(1e-6, 0), (1e3, 29)])
def test_what_is_parked_is_read_back_only_where_that_beats_computing(
    prompt_seconds: float, num_cached: int
) -> None:
    engine = fake_engine(FakeRunner(64), cache_ram=RAM)
    for id in "abab":
        ask(engine, id, id * 30)
    assert engine.stats().num_parked_bytes > 0
    for _ in range(50):
        engine._cache.prompt_rate.observe(1, prompt_seconds)
    assert cached(ask(engine, "again", "a" * 30), "again") == num_cached


def test_system_prompts_are_marked_and_cut_off_from_what_follows() -> None:
    engine = fake_engine(FakeRunner(256))
    system = "You are a helpful assistant. "
    layouts = (PromptLayout(message_ends=(len(system),)),)
    ask(engine, "a", system + "Hello!", layouts=layouts, scope="s")
    nodes = list(engine._cache.trees["s"].nodes())
    assert [(node.end, node.is_anchor) for node in nodes] == [
        (len(system), True),
        (len(system) + 6 + 7, False),
    ]


def test_what_is_only_remembered_is_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmd.engine.kv_cache.MAX_GHOST_TOKENS", 100)
    engine = fake_engine(FakeRunner(64))
    for index in range(130):
        ask(engine, str(index), f"prompt number {index}", max_tokens=1, scope=str(index % 40))
    num_tokens = sum(len(node) for tree in engine._cache.trees.values() for node in tree.nodes())
    assert num_tokens < 100 + 64 * 20
    assert len(engine._cache.trees) <= 40


def test_what_takes_longer_to_save_than_to_compute_is_not_parked() -> None:
    engine = fake_engine(FakeRunner(64), cache_ram=RAM)
    ask(engine, "a", "a" * 30)
    for _ in range(50):
        engine._cache.prompt_rate.observe(1000, 1e-6)
    for id in "bcd":
        ask(engine, id, id * 30)
    stats = engine.stats()
    assert stats.num_parked_bytes < 1000, "one was saved to find out, and no more"
    assert all(ask(engine, "again" + id, id * 30).reason("again" + id) for id in "abcd")
