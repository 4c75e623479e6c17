"""The pooling engine's bookkeeping, over a model whose vectors can be told by hand."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from llmd.core.embedding import Pooling
from llmd.core.output import FinishReason, Output
from llmd.engine.executor import EngineBroken
from llmd.engine.pooling import PoolingEngine
from llmd.engine.pooling_runner import TextPart
from llmd.engine.request import PoolingRequest
from llmd.engine.runner import DecodeFailed
from llmd.llama.pooling_context import Values

BAD, NAN = 666, 667
STEP_TOKENS = 10


class CountingRunner:
    """Pools to (mean of the tokens of the part, its number of tokens), and remembers every call.
    Knows which sequences have tokens, and refuses a part that does not continue its own.
    """

    def __init__(self, *, looks_ahead: bool = False) -> None:
        self.looks_ahead = looks_ahead
        self.calls: list[list[int]] = []
        """Tokens of each part of each call."""
        self.held: dict[int, int] = {}
        self.is_closed = False
        self.is_broken = False

    def forward(self, parts: Sequence[TextPart]) -> list[Values]:
        self.calls.append([len(part.tokens) for part in parts])
        if self.is_broken or any(BAD in part.tokens for part in parts):
            raise DecodeFailed
        for part in parts:
            assert self.held.get(part.sequence_id, 0) == part.start
            self.held[part.sequence_id] = part.start + len(part.tokens)
        return [self._pool(part) for part in parts]

    def forget(self, sequence_id: int) -> None:
        self.held.pop(sequence_id, None)

    def close(self) -> None:
        self.is_closed = True

    def _pool(self, part: TextPart) -> Values:
        first = np.nan if NAN in part.tokens else float(np.mean(part.tokens))
        return np.array([first, len(part.tokens)], np.float32)


def engine_over(
    runner: CountingRunner, pooling: Pooling = Pooling.RANK, num_sequences: int = 4
) -> PoolingEngine:
    return PoolingEngine(
        runner,
        pooling,
        step_tokens=STEP_TOKENS,
        num_sequences=num_sequences,
        clock=lambda: 0.0,
    )


def request(id: str, *texts: Sequence[int], tenant: str = "", priority: int = 0) -> PoolingRequest:
    return PoolingRequest(id=id, texts=tuple(map(tuple, texts)), tenant=tenant, priority=priority)


def finish(engine: PoolingEngine) -> list[Output]:
    outputs = []
    while not engine.is_idle:
        outputs += engine.step()
    return outputs


def test_one_output_has_all_vectors_in_the_order_of_the_texts() -> None:
    engine = engine_over(CountingRunner())
    engine.add(request("r", *[[n] * (1 + n % 3) for n in range(1, 9)]))
    (output,) = finish(engine)
    assert (output.request_id, output.finish_reason) == ("r", FinishReason.STOP)
    assert [vector[0] for vector in output.vectors] == list(range(1, 9))
    assert all(vector.typecode == "f" for vector in output.vectors)


def test_texts_of_all_requests_share_a_step_up_to_its_size() -> None:
    runner = CountingRunner()
    engine = engine_over(runner)
    engine.add(request("a", [1] * 4, [2] * 4))
    engine.add(request("b", [3] * 2, [4] * 5))
    finish(engine)
    assert runner.calls == [[4, 4, 2], [5]]


def test_a_step_has_no_more_texts_than_there_are_sequences() -> None:
    runner = CountingRunner()
    engine = engine_over(runner, num_sequences=2)
    engine.add(request("a", [1], [2], [3]))
    finish(engine)
    assert runner.calls == [[1, 1], [1]]


def test_a_long_text_goes_alone_where_tokens_look_ahead() -> None:
    runner = CountingRunner(looks_ahead=True)
    engine = engine_over(runner)
    engine.add(request("a", [1] * 3, [2] * 25, [3] * 3))
    finish(engine)
    assert runner.calls == [[3], [25], [3]]


def test_a_long_text_goes_in_parts_beside_others_where_they_do_not() -> None:
    runner = CountingRunner()
    engine = engine_over(runner)
    engine.add(request("a", [1] * 22))
    engine.add(request("b", *[[2] * 5] * 3))
    finish(engine)
    assert runner.calls == [[10], [5, 5], [5, 5], [2, 5]]
    assert runner.held == {}


def test_a_second_long_text_waits_for_the_first() -> None:
    runner = CountingRunner()
    engine = engine_over(runner)
    engine.add(request("a", [1] * 15, [2] * 15, [3] * 2))
    (output,) = finish(engine)
    assert runner.calls == [[10], [5, 2], [10], [5]]
    assert [vector[0] for vector in output.vectors] == [1, 2, 3]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (Pooling.RANK, (10, 2)),
        (Pooling.LAST, (10, 2)),
        (Pooling.CLS, (4, 10)),
        (Pooling.MEAN, (5, (10 * 10 + 10 * 10 + 2 * 2) / 22)),
    ],
)
def test_parts_are_joined_as_the_pooling_says(
    pooling: Pooling, expected: tuple[float, float]
) -> None:
    engine = engine_over(CountingRunner(), pooling)
    engine.add(request("a", [4] * 10 + [5] * 10 + [10] * 2))
    (output,) = finish(engine)
    values = np.array(expected, np.float32)
    if pooling is not Pooling.RANK:
        values /= np.linalg.norm(values)
    np.testing.assert_allclose(output.vectors[0], values, rtol=1e-5)


def test_tenants_take_turns() -> None:
    runner = CountingRunner()
    engine = engine_over(runner)
    engine.add(request("a", *[[1] * 5] * 8, tenant="much"))
    engine.step()
    engine.add(request("b", [2] * 5, tenant="little"))
    outputs = engine.step()
    assert [output.request_id for output in outputs] == ["b"]


def test_a_higher_priority_goes_first() -> None:
    engine = engine_over(CountingRunner())
    engine.add(request("low", *[[1] * 5] * 4))
    engine.add(request("high", [2] * 5, priority=1))
    assert [output.request_id for output in finish(engine)] == ["high", "low"]


def test_an_aborted_request_is_forgotten() -> None:
    runner = CountingRunner()
    engine = engine_over(runner)
    engine.add(request("a", [1] * 25, [2] * 3))
    engine.step()
    engine.abort("a")
    engine.abort("a")
    assert engine.is_idle
    assert runner.held == {}
    engine.add(request("b", *[[3]] * 4))
    assert len(finish(engine)) == 1


def test_only_the_request_whose_text_fails_ends_with_an_error() -> None:
    engine = engine_over(CountingRunner())
    engine.add(request("good", [1], [2]))
    engine.add(request("bad", [3], [BAD], [4]))
    outputs = {output.request_id: output for output in finish(engine)}
    assert outputs["good"].finish_reason is FinishReason.STOP
    assert outputs["bad"].finish_reason is FinishReason.ERROR
    assert "failed to compute" in (outputs["bad"].error or "")


def test_a_long_text_begins_again_after_a_failure_beside_it() -> None:
    runner = CountingRunner()
    engine = engine_over(runner)
    engine.add(request("long", [1] * 15))
    engine.step()
    engine.add(request("bad", [BAD]))
    outputs = finish(engine)
    assert [output.request_id for output in outputs] == ["bad", "long"]
    assert runner.calls == [[10], [5, 1], [1], [10], [5]]


def test_values_that_are_no_numbers_are_an_error() -> None:
    engine = engine_over(CountingRunner())
    engine.add(request("a", [NAN]))
    (output,) = finish(engine)
    assert output.finish_reason is FinishReason.ERROR
    assert "no numbers" in (output.error or "")


def test_a_model_that_computes_nothing_breaks_the_engine() -> None:
    runner = CountingRunner()
    runner.is_broken = True
    engine = engine_over(runner)
    for name in "abc":
        engine.add(request(name, [1]))
    with pytest.raises(EngineBroken):
        finish(engine)
    assert {output.finish_reason for output in engine.fail_all("over")} == {FinishReason.ERROR}
    assert engine.is_idle


def test_a_vector_of_zeros_stays_one() -> None:
    class Zeros(CountingRunner):
        def _pool(self, part: TextPart) -> Values:
            return np.zeros(2, np.float32)

    engine = engine_over(Zeros(), Pooling.MEAN)
    engine.add(request("a", [1]))
    assert finish(engine)[0].vectors == (array("f", [0, 0]),)


def test_what_a_step_brought_can_be_told_before_the_next_is_computed() -> None:
    order: list[str] = []

    class Noting(CountingRunner):
        def forward(self, parts: Sequence[TextPart]) -> list[Values]:
            order.append("computed")
            return super().forward(parts)

    engine = engine_over(Noting())
    engine.add(request("a", [1]))
    told: Callable[[list[Output]], None] = lambda outputs: order.append("told")  # noqa: E731
    engine.step(told)
    assert order == ["told", "computed"]


def test_closing_frees_the_runner() -> None:
    runner = CountingRunner()
    engine = engine_over(runner)
    engine.add(request("a", [1]))
    engine.close()
    assert runner.is_closed
