from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from fakes import (
    ATTENTION,
    END,
    HYBRID,
    VOCABULARY_SIZE,
    FakeRunner,
    continuation,
    fake_engine,
    fake_request,
    next_token,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from llmd.core.output import FinishReason, Output
from llmd.engine.engine import Engine
from llmd.engine.executor import MAX_FAILED_STEPS, EngineBroken

Texts = dict[tuple[str, int], str]


class Collected:
    """Outputs put together."""

    def __init__(self) -> None:
        self.texts: Texts = defaultdict(str)
        self.last: dict[tuple[str, int], Output] = {}

    def add(self, outputs: list[Output]) -> None:
        for output in outputs:
            key = output.request_id, output.index
            assert key not in self.last, "an output after the last one"
            self.texts[key] += output.text
            if output.finish_reason is not None:
                self.last[key] = output

    def reason(self, id: str, index: int = 0) -> FinishReason | None:
        return self.last[id, index].finish_reason


def run(engine: Engine, max_steps: int = 2000) -> Collected:
    collected = Collected()
    for _ in range(max_steps):
        if engine.is_idle:
            return collected
        collected.add(engine.step())
    raise AssertionError("not idle in time")


def test_a_prompt_is_continued_until_max_tokens() -> None:
    engine = fake_engine(FakeRunner(64))
    engine.add(fake_request("a", "hello", max_tokens=5))
    done = run(engine)
    assert done.texts["a", 0] == continuation("hello", 5)
    assert done.reason("a") is FinishReason.LENGTH
    timings = done.last["a", 0].timings
    assert timings is not None and (timings.num_prompt, timings.num_generated) == (5, 5)


def test_many_sequences_share_each_decode() -> None:
    runner = FakeRunner(256)
    engine = fake_engine(runner)
    for id in "abcd":
        engine.add(fake_request(id, f"prompt {id}"))
    done = run(engine)
    assert all(done.texts[id, 0] == continuation(f"prompt {id}", 8) for id in "abcd")
    assert max(len(batch) for batch in runner.batches) == 4


def test_choices_of_several_prompts_are_numbered_prompt_by_prompt() -> None:
    engine = fake_engine(FakeRunner(256))
    engine.add(fake_request("a", "one", "two", num_choices=2))
    done = run(engine)
    one, two = continuation("one", 8), continuation("two", 8)
    assert [done.texts["a", index] for index in range(4)] == [one, one, two, two]


def test_a_long_prompt_is_computed_in_chunks_beside_running_generations() -> None:
    runner = FakeRunner(256)
    engine = fake_engine(runner, max_step_tokens=8, context_size=128)
    engine.add(fake_request("short", "hi", max_tokens=20))
    engine.step()
    engine.add(fake_request("long", "x" * 50, max_tokens=2))
    num_shared = 0
    while any(s.request.id == "long" and s.num_pending > 1 for s in engine._scheduler.sequences()):
        outputs = engine.step()
        assert [output.request_id for output in outputs][:1] == ["short"], "the short one stalled"
        num_shared += 1
    assert num_shared >= 50 // 8


def test_an_end_token_stops_and_leaves_no_text() -> None:
    runner = FakeRunner(64, lambda tokens: END if len(tokens) == 6 else next_token(tokens))
    engine = fake_engine(runner)
    engine.add(fake_request("a", "hey"))
    done = run(engine)
    assert done.texts["a", 0] == continuation("hey", 3)
    assert done.reason("a") is FinishReason.STOP


@pytest.mark.parametrize(("scores_end", "expected"), [(True, [b"x", b""]), (False, [b"x"])])
def test_an_end_token_has_a_logprob_where_asked_for(
    scores_end: bool, expected: list[bytes]
) -> None:
    script = {1: ord("x"), 2: END}
    engine = fake_engine(FakeRunner(64, lambda tokens: script[len(tokens)]))
    engine.add(fake_request("a", "h", top_logprobs=0, scores_end=scores_end))
    found = []
    while not engine.is_idle:
        found += [each.chosen.text for output in engine.step() for each in output.logprobs]
    assert found == expected


def test_a_sequence_that_generates_for_too_long_ends_with_its_line() -> None:
    text = "one\ntwo\nthree\n"
    engine = fake_engine(FakeRunner(64, lambda tokens: ord(text[len(tokens) - 1])))
    # The clock moves a second with every look at it, and a step looks several times.
    engine.add(fake_request("a", "h", max_tokens=14, max_generating_ms=1))
    engine.add(fake_request("b", "h", max_tokens=14, max_generating_ms=10**7))
    done = run(engine)
    assert done.texts["a", 0] == "one\n"
    assert done.reason("a") is FinishReason.LENGTH
    assert done.texts["b", 0] == text[:14]


def test_a_stop_string_ends_the_text_before_it() -> None:
    whole = continuation("hey", 8)
    engine = fake_engine(FakeRunner(64))
    engine.add(fake_request("a", "hey", stop=(whole[3:5],)))
    done = run(engine)
    assert done.texts["a", 0] == whole[: whole.index(whole[3:5])]
    assert done.last["a", 0].stop_text == whole[3:5]
    assert done.reason("a") is FinishReason.STOP


def test_the_end_of_the_context_finishes_with_length() -> None:
    engine = fake_engine(FakeRunner(64), context_size=20)
    engine.add(fake_request("a", "x" * 15, max_tokens=None))
    done = run(engine)
    assert done.texts["a", 0] == continuation("x" * 15, 5)
    assert done.reason("a") is FinishReason.LENGTH


def test_zero_tokens_finish_when_the_prompt_is_computed() -> None:
    engine = fake_engine(FakeRunner(64))
    engine.add(fake_request("a", "hey", max_tokens=0))
    done = run(engine)
    assert done.texts["a", 0] == ""
    assert done.reason("a") is FinishReason.LENGTH


def test_a_request_waits_until_its_cells_are_free() -> None:
    runner = FakeRunner(40)
    engine = fake_engine(runner, context_size=40)
    engine.add(fake_request("a", "x" * 20, max_tokens=10))
    engine.add(fake_request("b", "y" * 20, max_tokens=10))
    engine.step()
    assert [s.request.id for s in engine._scheduler.running] == ["a"]
    done = run(engine)
    assert engine.stats().num_set_back == 0
    assert done.texts["b", 0] == continuation("y" * 20, 10)


def test_the_youngest_is_set_back_and_recomputed_when_cells_run_out() -> None:
    runner = FakeRunner(150)
    engine = fake_engine(runner, context_size=150, max_step_tokens=64)
    # 64 cells are reserved for growth, so both are admitted; both then outgrow the pool.
    engine.add(fake_request("old", "o" * 5, max_tokens=100))
    engine.add(fake_request("young", "y" * 5, max_tokens=100))
    done = run(engine)
    assert engine.stats().num_set_back == 1
    starts = [i.sequence.request.id for b in runner.batches for i in b if i.start == 0]
    assert starts == ["old", "young", "young"]
    assert done.texts["old", 0] == continuation("o" * 5, 100)
    assert done.texts["young", 0] == continuation("y" * 5, 100)


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5])
def test_an_abort_takes_effect_before_the_next_step(num_steps: int) -> None:
    runner = FakeRunner(256)
    engine = fake_engine(runner, max_step_tokens=8, context_size=128)
    engine.add(fake_request("stays", "stay", max_tokens=12))
    engine.add(fake_request("goes", "g" * 30, max_tokens=12))
    done = Collected()
    for _ in range(num_steps):
        done.add(engine.step())
    engine.abort("goes")
    num_batches = len(runner.batches)
    while not engine.is_idle:
        done.add(engine.step())
    later = [i.sequence.request.id for b in runner.batches[num_batches:] for i in b]
    assert set(later) == {"stays"}
    assert done.texts["stays", 0] == continuation("stay", 12)


def test_the_cells_of_an_aborted_sequence_are_idle_and_go_when_they_are_needed() -> None:
    runner = FakeRunner(64)
    engine = fake_engine(runner)
    engine.add(fake_request("a", "x" * 30))
    engine.step()
    engine.abort("a")
    assert runner.num_used == engine.stats().num_idle_cells
    engine.add(fake_request("b", "y" * 60, max_tokens=2))
    done = run(engine)
    assert done.texts["b", 0] == continuation("y" * 60, 2)


def test_aborting_an_unknown_request_is_ignored() -> None:
    engine = fake_engine(FakeRunner(64))
    engine.abort("nobody")
    assert engine.is_idle


@pytest.mark.parametrize("max_batch_tokens", [1, 2, 5])
def test_a_batch_that_finds_no_room_is_computed_in_parts(max_batch_tokens: int) -> None:
    runner = FakeRunner(256)
    runner.max_batch_tokens = max_batch_tokens
    engine = fake_engine(runner)
    for id in "abc":
        engine.add(fake_request(id, f"prompt {id}"))
    done = run(engine)
    assert all(done.texts[id, 0] == continuation(f"prompt {id}", 8) for id in "abc")


def test_a_sequence_for_which_not_one_token_finds_room_fails_alone() -> None:
    runner = FakeRunner(64)
    runner.max_batch_tokens = 0
    engine = fake_engine(runner)
    engine.add(fake_request("a", "x"))
    done = run(engine)
    assert done.reason("a") is FinishReason.ERROR
    assert "--kv-tokens" in (done.last["a", 0].error or "")


@pytest.mark.parametrize("is_recurrent", [False, True])
def test_a_failing_decode_fails_only_the_sequence_that_causes_it(is_recurrent: bool) -> None:
    runner = FakeRunner(256, memory=HYBRID if is_recurrent else ATTENTION)
    runner.poison = ord("!")
    engine = fake_engine(runner, max_step_tokens=6)
    engine.add(fake_request("good", "a good prompt"))
    engine.add(fake_request("bad", "a bad! prompt"))
    engine.add(fake_request("fine", "fine"))
    done = run(engine)
    assert done.reason("bad") is FinishReason.ERROR
    assert done.texts["good", 0] == continuation("a good prompt", 8)
    assert done.texts["fine", 0] == continuation("fine", 8)


def test_an_engine_that_computes_nothing_any_more_says_so() -> None:
    runner = FakeRunner(256)
    runner.poison = ord("x")
    engine = fake_engine(runner)
    for index in range(MAX_FAILED_STEPS):
        engine.add(fake_request(str(index), "x"))
    with pytest.raises(EngineBroken):
        run(engine)


def test_logits_that_are_no_numbers_fail_their_sequence_with_an_error() -> None:
    runner = FakeRunner(64)
    nothing = np.full(VOCABULARY_SIZE, np.nan, dtype=np.float32)
    runner._row = lambda tokens: nothing  # type: ignore[method-assign]
    engine = fake_engine(runner)
    engine.add(fake_request("a", "x"))
    done = run(engine)
    assert done.reason("a") is FinishReason.ERROR


def test_fail_all_ends_every_sequence_and_the_engine_goes_on() -> None:
    engine = fake_engine(FakeRunner(64))
    for id in "abcdef":
        engine.add(fake_request(id, "prompt"))
    engine.step()
    done = Collected()
    done.add(engine.fail_all("no power"))
    assert {done.reason(id) for id in "abcdef"} == {FinishReason.ERROR}
    engine.add(fake_request("g", "again"))
    assert run(engine).texts["g", 0] == continuation("again", 8)


def test_logprobs_are_those_of_the_raw_distribution() -> None:
    engine = fake_engine(FakeRunner(64))
    engine.add(fake_request("a", "hey", max_tokens=1, top_logprobs=2))
    (output,) = engine.step()
    (logprob,) = output.logprobs
    assert logprob.chosen.text.decode() == continuation("hey", 1)
    assert logprob.top[0] == logprob.chosen
    assert logprob.chosen.logprob == pytest.approx(-0.01156, abs=1e-4)  # e^10 against 256 ones


def test_prompt_logprobs_cover_every_token_once() -> None:
    engine = fake_engine(FakeRunner(256), max_step_tokens=8, context_size=128)
    prompt = "a" * 40
    engine.add(fake_request("a", prompt, max_tokens=2, top_logprobs=0, prompt_logprobs=True))
    scores = [score for _ in range(20) if not engine.is_idle for o in engine.step()
              for score in o.prompt_logprobs]  # fmt: skip
    assert len(scores) == 40
    assert scores[0] is None
    assert all(score is not None and score.chosen.text == b"a" for score in scores[1:])


def test_close_frees_the_runner() -> None:
    runner = FakeRunner(64)
    engine = fake_engine(runner)
    engine.add(fake_request("a", "x"))
    engine.close()
    assert runner.is_closed


requests = st.tuples(
    st.integers(1, 40),  # prompt length
    st.integers(1, 30),  # max_tokens
    st.integers(0, 30),  # step at which it arrives
    st.one_of(st.none(), st.integers(0, 40)),  # step at which its client leaves
)


@settings(max_examples=60, deadline=None)
@given(plan=st.lists(requests, min_size=1, max_size=12), num_cells=st.integers(72, 200))
def test_any_load_ends_with_every_output_as_if_alone(
    plan: list[tuple[int, int, int, int | None]], num_cells: int
) -> None:
    runner = FakeRunner(num_cells)
    engine = fake_engine(runner, context_size=72)
    prompts = {str(i): chr(ord("a") + i) * length for i, (length, *_) in enumerate(plan)}
    done, gone = Collected(), set()
    for step in range(3000):
        for i, (_, max_tokens, arrives, leaves) in enumerate(plan):
            if step == arrives:
                scored = i % 3 == 0
                engine.add(
                    fake_request(
                        str(i), prompts[str(i)], max_tokens=max_tokens, prompt_logprobs=scored
                    )
                )
            if leaves is not None and step == arrives + leaves and (str(i), 0) not in done.last:
                engine.abort(str(i))
                gone.add(str(i))
        if engine.is_idle and step > 30:
            break
        done.add(engine.step())
    assert engine.is_idle
    for i, (_, max_tokens, *_rest) in enumerate(plan):
        if str(i) not in gone:
            assert done.texts[str(i), 0] == continuation(prompts[str(i)], max_tokens)
    stats = engine.stats()
    assert stats.num_free_cells + stats.num_idle_cells == num_cells
    assert runner.num_used == stats.num_idle_cells


def test_tenants_share_the_prompt_tokens_of_a_step() -> None:
    runner = FakeRunner(512)
    engine = fake_engine(runner, context_size=128, max_step_tokens=16)
    engine.add(fake_request("a", "a" * 100, tenant="one"))
    engine.add(fake_request("b", "b" * 100, tenant="one"))
    engine.add(fake_request("c", "c" * 20, tenant="two"))
    engine.step()
    assert {i.sequence.request.id: i.num_tokens for i in runner.batches[0]} == {"a": 8, "c": 8}


def test_a_higher_priority_is_admitted_first() -> None:
    engine = fake_engine(FakeRunner(512), num_sequences=1, num_keepers=0)
    for id, priority in (("runs", 0), ("low", 0), ("high", 1)):
        engine.add(fake_request(id, f"prompt {id}", priority=priority))
        engine.step()
    order = []
    while not engine.is_idle:
        order += [o.request_id for o in engine.step() if o.finish_reason is not None]
    assert order == ["runs", "high", "low"]


def test_a_deterministic_sequence_has_its_own_steps_in_chunks_of_one_size() -> None:
    runner = FakeRunner(1024)
    engine = fake_engine(runner, context_size=512, max_step_tokens=512)
    engine.add(fake_request("chatter", "hi", max_tokens=30))
    engine.step()
    engine.add(fake_request("exact", "x" * 300, max_tokens=3, deterministic=True))
    done = run(engine)
    assert done.texts["exact", 0] == continuation("x" * 300, 3)
    sizes = []
    for batch in runner.batches:
        ids = {item.sequence.request.id for item in batch}
        assert ids in ({"chatter"}, {"exact"})
        if ids == {"exact"}:
            sizes.append(batch[0].num_tokens)
    assert sizes == [128, 128, 44, 1, 1]


def test_a_deterministic_prompt_that_is_scored_asks_for_no_more_rows_than_there_are() -> None:
    runner = FakeRunner(1024)  # which counts them
    engine = fake_engine(runner, context_size=512, max_step_tokens=512)
    fields = {"deterministic": True, "prompt_logprobs": True, "top_logprobs": 0, "max_tokens": 1}
    engine.add(fake_request("exact", "x" * 100, **fields))
    assert run(engine).texts["exact", 0] == continuation("x" * 100, 1)
    assert [batch[0].num_tokens for batch in runner.batches] == [32, 32, 32, 4]


def test_progress_is_told_from_what_was_cached_to_the_whole_prompt() -> None:
    engine = fake_engine(FakeRunner(512), context_size=128, max_step_tokens=16)
    engine.add(fake_request("a", "x" * 40, max_tokens=1))
    run(engine)
    engine.add(fake_request("b", "x" * 20 + "y" * 30, max_tokens=3, return_progress=True))
    begun: list[Output] = []
    outputs: list[Output] = []
    while not engine.is_idle:
        outputs += engine.step(begun.extend)
    (first,) = begun
    told = [each.progress for each in (first, *outputs) if each.progress is not None]
    assert [each.num_processed for each in told] == [20, 36, 50]
    assert {(each.num_total, each.num_cached) for each in told} == {(50, 20)}
