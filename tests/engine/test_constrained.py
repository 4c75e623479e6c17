"""Constraints and thoughts in the engine: what is drawn, what is forced, and what it costs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from fakes import (
    END,
    GREEDY,
    HYBRID,
    VOCABULARY_SIZE,
    FakeRunner,
    FakeVocabulary,
    continuation,
    fake_engine,
    fake_request,
    next_token,
)

from llmd.core.grammar import GrammarSource
from llmd.core.output import FinishReason, Output
from llmd.engine.continuation import Continuation
from llmd.engine.engine import Engine
from llmd.engine.grammar import CompiledGrammar, GrammarCompiler
from llmd.engine.pacing import FIRST_PROMPT_TOKENS, NUM_DECODE_SAMPLES
from llmd.engine.request import Request
from llmd.engine.sampler import Sampler
from llmd.engine.thought import ThoughtLimits

COMPILER = GrammarCompiler(FakeVocabulary())
CLOSING = tuple(b"</t>\n")
LONG = "a_key_that_leaves_no_choice"


def lark(text: str) -> CompiledGrammar:
    return COMPILER.compile(GrammarSource("lark", text))


def thought(**fields: Any) -> ThoughtLimits:
    values: dict[str, Any] = {"open": "<t>", "close": "</t>", "closing": CLOSING, **fields}
    return ThoughtLimits(**values)


@dataclass
class Answer:
    text: str = ""
    outputs: list[Output] = field(default_factory=list)

    @property
    def last(self) -> Output:
        return self.outputs[-1]

    @property
    def reason(self) -> FinishReason | None:
        return self.last.finish_reason


def answers(engine: Engine, *requests: Request) -> dict[tuple[str, int], Answer]:
    for each in requests:
        engine.add(each)
    found: dict[tuple[str, int], Answer] = {}
    for _ in range(3000):
        if engine.is_idle:
            return found
        for output in engine.step():
            answer = found.setdefault((output.request_id, output.index), Answer())
            answer.text += output.text
            answer.outputs.append(output)
    raise AssertionError("not idle in time")


def answer(runner: FakeRunner, prompt: str = "hello", **fields: Any) -> Answer:
    engine = fake_engine(runner, context_size=256, max_step_tokens=64)
    return answers(engine, fake_request("a", prompt, **fields))["a", 0]


def test_what_is_drawn_follows_the_grammar() -> None:
    found = answer(FakeRunner(256), grammar=lark("start: /[0-9]{5}/ /[xyz]{3}/"))
    assert len(found.text) == 8
    assert found.text[:5].isdigit() and set(found.text[5:]) <= set("xyz")
    assert found.reason is FinishReason.STOP


def test_a_draw_that_is_allowed_stands() -> None:
    grammar = lark("start: /[a-z]*/ ")
    assert answer(FakeRunner(256), grammar=grammar).text == continuation("hello", 8)


def test_the_end_is_drawn_only_where_the_grammar_may_end() -> None:
    eager = FakeRunner(256, lambda tokens: END)
    found = answer(eager, grammar=lark("start: /[0-9]{4,9}/"), max_tokens=20)
    assert (found.text, found.reason) == ("0000", FinishReason.STOP)


def test_a_whole_answer_ends_without_another_decode() -> None:
    runner = FakeRunner(256)
    found = answer(runner, grammar=lark("start: /[0-9]{3}/"), max_tokens=50)
    assert found.reason is FinishReason.STOP
    assert len(runner.batches) == 3


def test_forced_text_takes_one_decode() -> None:
    runner = FakeRunner(256)
    found = answer(runner, grammar=lark(f'start: /[0-9]/ "{LONG}" /[0-9]/'), max_tokens=50)
    assert found.text[1:-1] == LONG
    sizes = [batch[0].num_tokens for batch in runner.batches]
    assert sizes == [len("hello"), 1 + len(LONG)]
    assert sum(output.num_tokens for output in found.outputs) == 2 + len(LONG)
    timings = found.last.timings
    assert timings is not None and timings.num_generated == 2 + len(LONG)


def test_forced_text_at_the_beginning_needs_no_draw() -> None:
    runner = FakeRunner(256)
    found = answer(runner, grammar=lark(f'start: "{LONG}" /[0-9]/'), max_tokens=50)
    assert found.outputs[0].text == LONG
    assert len(runner.batches) == 2


def test_jumping_changes_no_text() -> None:
    schema = {
        "type": "object",
        "properties": {LONG: {"type": "integer"}, "b": {"enum": ["xx", "yy"]}},
        "required": [LONG, "b"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    grammar = COMPILER.compile(GrammarSource("json_schema", json.dumps(schema)))
    texts = []
    for num_top in (None, 0):
        found = answer(FakeRunner(256), grammar=grammar, max_tokens=99, top_logprobs=num_top)
        texts.append(found.text)
    assert texts[0] == texts[1]
    assert set(json.loads(texts[0])) == {LONG, "b"}


def test_who_asks_for_logprobs_gets_one_for_each_token() -> None:
    runner = FakeRunner(256)
    grammar = lark('start: /[0-9]/ "abc" /[0-9]/')
    found = answer(runner, grammar=grammar, max_tokens=50, top_logprobs=2)
    scores = [score for output in found.outputs for score in output.logprobs]
    assert b"".join(score.chosen.text for score in scores) == found.text.encode()
    assert len(runner.batches) == len(found.text) == 5
    # The raw distribution's: the fake model gives one token 10 and all others 0.
    likeliest = max(score.top[0].logprob for score in scores)
    assert likeliest == pytest.approx(10 - np.log(np.exp(10) + VOCABULARY_SIZE - 1), abs=1e-4)


@pytest.mark.parametrize("max_tokens", [1, 5, 9])
def test_forced_text_ends_at_max_tokens(max_tokens: int) -> None:
    found = answer(FakeRunner(256), grammar=lark(f'start: "{LONG}x"'), max_tokens=max_tokens)
    assert found.text == LONG[:max_tokens]
    assert found.reason is FinishReason.LENGTH


def test_forced_text_ends_at_the_end_of_the_context() -> None:
    engine = fake_engine(FakeRunner(64), context_size=12)
    request = fake_request("a", "hello", grammar=lark(f'start: "{LONG}"'), max_tokens=None)
    found = answers(engine, request)["a", 0]
    assert (found.text, found.reason) == (LONG[:7], FinishReason.LENGTH)


def test_a_stop_string_cuts_forced_text() -> None:
    found = answer(FakeRunner(256), grammar=lark('start: "abcdefgh"'), stop=("cd", "ef"))
    assert found.text == "ab"
    assert (found.reason, found.last.stop_text) == (FinishReason.STOP, "cd")


def test_a_stop_string_may_begin_in_what_was_drawn_and_end_in_what_is_forced() -> None:
    found = answer(FakeRunner(256), grammar=lark('start: /[0-9]/ "abc"'), stop=("0ab",))
    assert (found.text, found.last.stop_text) == ("", "0ab")


def test_a_sequence_that_jumps_leaves_nobody_out_of_a_step() -> None:
    runner = FakeRunner(512)
    engine = fake_engine(runner, context_size=256, max_step_tokens=16)
    engine.add(fake_request("free", "free", max_tokens=40))
    engine.step()
    jumping = lark(f'start: (/[0-9]/ "{LONG}"){{3}}')
    engine.add(fake_request("jumping", "jump", grammar=jumping, max_tokens=200))
    num_steps = 0
    while not engine.is_idle:
        told = {output.request_id for output in engine.step()}
        num_steps += 1
        if num_steps < 38:
            assert "free" in told
    sizes = [item.num_tokens for batch in runner.batches for item in batch]
    assert max(sizes) > 4
    assert all(sum(item.num_tokens for item in batch) <= 16 for batch in runner.batches)


def test_sequences_that_all_jump_compute_it_at_once_whatever_the_gap() -> None:
    runner = FakeRunner(512)
    engine = fake_engine(runner, context_size=256, max_step_tokens=64, max_gap_seconds=0.1)
    grammar = lark('start: /[0-9]/ "abcdefghijklmnop" /[0-9]/')
    answers(engine, fake_request("a", "x", "y", grammar=grammar, max_tokens=50))
    assert [item.num_tokens for batch in runner.batches for item in batch][-2:] == [17, 17]


def test_who_waits_for_a_next_token_does_not_wait_for_long_jumps() -> None:
    runner = FakeRunner(512)
    engine = fake_engine(runner, context_size=256, max_step_tokens=64, max_gap_seconds=0.1)
    grammar = lark(f'start: "{LONG * 2}" /[0-9]/')
    jumping = fake_request("a", "x", grammar=grammar, max_tokens=99)
    answers(engine, fake_request("b", "y", max_tokens=60), jumping)
    sizes = [sum(item.num_tokens for item in batch) for batch in runner.batches if len(batch) == 2]
    # As prompts would: some steps show what decodes alone take, then it begins with little.
    assert sizes[:5] == [2] * NUM_DECODE_SAMPLES + [2 + FIRST_PROMPT_TOKENS]


def test_prompts_are_read_beside_sequences_that_jump() -> None:
    runner = FakeRunner(1024)
    engine = fake_engine(runner, context_size=512, max_step_tokens=16)
    jumping = lark(f'start: (/[0-9]/ "{LONG * 3}"){{2}}')
    engine.add(fake_request("jumping", "jump", grammar=jumping, max_tokens=400))
    engine.step()
    engine.add(fake_request("reading", "y" * 60, max_tokens=1))
    shares = []
    while any(s.request.id == "reading" for s in engine._scheduler.sequences()):
        engine.step()
        shares.append({i.sequence.request.id: i.num_tokens for i in runner.batches[-1]})
    assert all(share.get("reading", 0) >= 7 for share in shares[:-1])
    assert any(share.get("jumping", 0) > 1 for share in shares)


@pytest.mark.parametrize("memory", [None, HYBRID])
def test_a_sequence_set_back_amid_a_jump_goes_on_where_it_was(memory: Any) -> None:
    grammar = lark(f'start: (/[0-9]/ "{LONG}"){{4}}')

    def run(*set_back_at: int) -> str:
        runner = FakeRunner(512, memory=memory) if memory else FakeRunner(512)
        engine = fake_engine(runner, context_size=256, max_step_tokens=8)
        engine.add(fake_request("b", "other", max_tokens=3))
        engine.add(fake_request("a", "hello", grammar=grammar, max_tokens=200))
        text, step = "", 0
        while not engine.is_idle:
            step += 1
            if step in set_back_at:
                engine._scheduler.set_back_youngest()
            text += "".join(o.text for o in engine.step() if o.request_id == "a")
        return text

    assert run(4, 5, 9, 17) == run()


def test_each_choice_has_its_own_place_in_the_grammar() -> None:
    engine = fake_engine(FakeRunner(512), context_size=128)
    grammar = lark('start: /[0-9]/ "abc" /[0-9]{3}/')
    found = answers(engine, fake_request("a", "x", "yy", num_choices=2, grammar=grammar))
    for index in range(4):
        text = found["a", index].text
        assert text[0].isdigit() and text[1:4] == "abc" and text[4:].isdigit()


def test_a_deterministic_request_jumps_too() -> None:
    runner = FakeRunner(256)
    grammar = lark(f'start: /[0-9]/ "{LONG}" /[0-9]/')
    found = answer(runner, grammar=grammar, max_tokens=50, deterministic=True)
    assert found.text[1:-1] == LONG
    assert len(runner.batches) == 2


def test_the_tokens_of_a_jump_are_found_again_as_a_prefix() -> None:
    engine = fake_engine(FakeRunner(512), context_size=256, max_step_tokens=64)
    grammar = lark(f'start: /[0-9]/ "{LONG}" /[0-9]/')
    first = answers(engine, fake_request("a", "hello", grammar=grammar, max_tokens=50))["a", 0]
    again = "hello" + first.text + "and then"
    second = answers(engine, fake_request("b", again, max_tokens=1))["b", 0]
    assert second.last.timings is not None
    assert second.last.timings.num_cached >= len("hello" + first.text) - 1


def test_progress_is_told_once_when_the_answer_begins_with_a_jump() -> None:
    found = answer(
        FakeRunner(256), grammar=lark(f'start: "{LONG}" /[0-9]/'), max_tokens=50,
        return_progress=True,
    )  # fmt: skip
    told = [output.progress for output in found.outputs if output.progress]
    assert [progress.num_processed for progress in told] == [0, 5]


def test_a_dead_end_is_an_error_and_never_free_text() -> None:
    found = answer(FakeRunner(256), grammar=lark(r'start: /[0-9]/ "a" /[^\s\S]/'))
    assert found.reason is FinishReason.ERROR
    assert found.last.error is not None and found.last.error.endswith("Correct or simplify that.")
    assert found.last.is_request_fault


def test_others_go_on_beside_one_whose_grammar_fails() -> None:
    engine = fake_engine(FakeRunner(512), context_size=128)
    broken = fake_request("a", "x", grammar=lark(r'start: /[0-9]/ "a" /[^\s\S]/'))
    found = answers(engine, broken, fake_request("b", "hello"))
    assert found["a", 0].reason is FinishReason.ERROR
    assert found["b", 0].text == continuation("hello", 8)


def test_penalties_count_forced_tokens() -> None:
    accepted: list[int] = []

    class Spy(Sampler):
        def accept(self, token_ids: Any) -> None:
            accepted.extend(token_ids)

    vocabulary = FakeVocabulary()
    constraint = lark('start: /[0-9]/ "abc"').start()
    row = np.zeros(VOCABULARY_SIZE, np.float32)
    sequel = Continuation(Spy(GREEDY, vocabulary, None), vocabulary, constraint=constraint)
    assert list(sequel.tokens(row)) == accepted == [*b"0abc"]


def thinker(tokens: list[int]) -> int:
    """Thinks eight letters, closes the thought and says more."""
    said = len(tokens) - len("hello")
    return b"abcdefgh</t>"[said] if said < 12 else next_token(tokens)


def test_the_tokens_of_thoughts_are_counted() -> None:
    found = answer(FakeRunner(256, thinker), thought=thought(is_open=True), max_tokens=30)
    assert found.last.num_reasoning == 8
    assert [output.num_reasoning for output in found.outputs][:4] == [1, 2, 3, 4]
    assert found.text.startswith("abcdefgh</t>")


def test_a_thought_is_closed_when_its_budget_is_used_up() -> None:
    limits = thought(is_open=True, budget=5)
    found = answer(FakeRunner(256, thinker), thought=limits, max_tokens=30)
    assert found.text.startswith("abcde</t>\n")
    assert found.last.num_reasoning == 5
    assert len(found.text) == 30


def test_a_thought_within_its_budget_is_left_alone() -> None:
    limits = thought(is_open=True, budget=9)
    found = answer(FakeRunner(256, thinker), thought=limits, max_tokens=30)
    assert found.text.startswith("abcdefgh</t>")
    assert "\n" not in found.text


def test_no_budget_at_all_closes_what_the_prompt_opened_at_once() -> None:
    runner = FakeRunner(256)
    found = answer(runner, thought=thought(is_open=True, budget=0), max_tokens=9)
    assert found.text.startswith("</t>\n")
    assert found.last.num_reasoning == 0
    assert len(runner.batches) == 1 + 9 - len(CLOSING)


def test_the_closing_tokens_have_logprobs_too() -> None:
    limits = thought(is_open=True, budget=2)
    found = answer(FakeRunner(256, thinker), thought=limits, max_tokens=9, top_logprobs=0)
    said = b"".join(score.chosen.text for output in found.outputs for score in output.logprobs)
    assert said == found.text.encode()
    assert found.text.startswith("ab</t>\n")


def test_a_budget_goes_through_the_constraint() -> None:
    grammar = lark('start: t "\\n" /[0-9]{3}/\nt[suffix="</t>"]: /(?s:.*)/')
    limits = thought(is_open=True, budget=5)
    found = answer(FakeRunner(256, thinker), grammar=grammar, thought=limits, max_tokens=30)
    assert found.text[:10] == "abcde</t>\n" and found.text[10:].isdigit()
    assert found.reason is FinishReason.STOP


def test_a_grammar_that_lets_no_thought_end_goes_before_the_budget() -> None:
    grammar = lark('start: /[a-z]{7}/ "</t>\\n" /[0-9]/')
    limits = thought(is_open=True, budget=5)
    found = answer(FakeRunner(256, thinker), grammar=grammar, thought=limits, max_tokens=30)
    assert found.text[:12] == "abcdefg</t>\n"
    assert found.last.num_reasoning == 7


def test_a_thought_that_the_grammar_forces_open_is_closed_by_its_budget() -> None:
    grammar = lark('start: "<t>" t /[0-9]{2}/\nt[suffix="</t>\\n"]: /(?s:.*)/')
    found = answer(FakeRunner(256), grammar=grammar, thought=thought(budget=0), max_tokens=30)
    assert found.text[:8] == "<t></t>\n" and found.text[8:].isdigit()
