from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise, repeat
from random import Random

import pytest

from llmd.engine.pacing import (
    FIRST_PROMPT_TOKENS,
    MAX_AGE,
    MAX_GROWTH,
    MIN_CALM,
    MIN_PROMPT_SHARE,
    NUM_DECODE_SAMPLES,
    Pacer,
)

MAX_STEP_TOKENS = 512
TARGET = 0.2
NUM_LEARNING_STEPS = 30


class Machine:
    """Something that computes steps, in seconds that can be reasoned about."""

    def __init__(
        self,
        *,
        weights: float = 0.025,
        decode: float = 0.005,
        prompt: float = 0.004,
        growth: float = 1 / 6000,
        noise: float = 0.08,
        outliers: float = 0.0,
        is_bound_by_memory: bool = False,
        seed: int = 0,
    ) -> None:
        """Reading the weights, each decode and each prompt token take so long; a prompt token at
        position p takes 1 + `growth` * p as long. `outliers` is how many steps take five times as
        long. Bound by memory, computing hides behind reading the weights. The first step of all
        is ten times as slow.
        """
        self.slowness = 1.0
        self._weights, self._decode, self._prompt = weights, decode, prompt
        self._growth, self._noise, self._outliers = growth, noise, outliers
        self._is_bound_by_memory = is_bound_by_memory
        self._random = Random(seed)
        self._warming_up = 10.0

    def exact_seconds(self, num_generating: int, num_prompt_tokens: int, position: int) -> float:
        per_token = self._prompt * (1 + self._growth * (position + num_prompt_tokens / 2))
        computing = self._decode * num_generating + per_token * num_prompt_tokens
        if self._is_bound_by_memory:
            return self.slowness * (max(self._weights, computing) + 0.1 * self._weights)
        return self.slowness * (self._weights + computing)

    def seconds(self, num_generating: int, num_prompt_tokens: int, position: int) -> float:
        noise = max(0.3, self._random.gauss(1, self._noise)) * self._warming_up
        self._warming_up = 1.0
        if self._random.random() < self._outliers:
            noise *= 5
        return noise * self.exact_seconds(num_generating, num_prompt_tokens, position)

    def seconds_alone(self, num_prompt_tokens: int) -> float:
        """A prompt on the otherwise idle machine, in the largest chunks, without noise."""
        return sum(
            self.exact_seconds(0, min(MAX_STEP_TOKENS, num_prompt_tokens - start), start)
            for start in range(0, num_prompt_tokens, MAX_STEP_TOKENS)
        )


@dataclass(frozen=True, slots=True)
class Step:
    num_generating: int
    num_prompt_tokens: int
    budget: int
    seconds: float
    allowed_seconds: float
    """The target, or more where that leaves too little for prompts."""


def run(
    machine: Machine,
    pacer: Pacer,
    num_generating: Callable[[int], int],
    prompts: Iterable[int] = (),
    slowness: Callable[[int], float] = lambda step: 1.0,
) -> Iterator[Step]:
    """Steps without end: so many generate, and prompts of these lengths come one by one."""
    waiting = iter(prompts)
    num_left = position = 0
    for number in count():
        machine.slowness = slowness(number)
        if num_left == 0:
            num_left, position = next(waiting, 0), 0
        generating = num_generating(number)
        budget = pacer.prompt_budget(generating)
        num_tokens = min(budget, num_left)
        assert generating or num_tokens, "an empty step"
        seconds = machine.seconds(generating, num_tokens, position)
        pacer.observe(generating, num_tokens, seconds)
        num_left -= num_tokens
        position += num_tokens
        allowed_seconds = max(
            TARGET,
            machine.exact_seconds(generating, 0, 0) / (1 - MIN_PROMPT_SHARE),
            machine.exact_seconds(generating, 1, position),
        )
        yield Step(generating, num_tokens, budget, seconds, allowed_seconds)


def take(steps: Iterator[Step], number: int) -> list[Step]:
    return [next(steps) for _ in range(number)]


def make_pacer(target: float = TARGET) -> Pacer:
    return Pacer(MAX_STEP_TOKENS, target)


def taught_pacer(num_generating: int, decode_seconds: float, token_seconds: float) -> Pacer:
    """One that knows an exact machine."""
    pacer = make_pacer()
    for _ in range(NUM_DECODE_SAMPLES):
        pacer.observe(num_generating, 0, decode_seconds)
    for _ in range(20):
        budget = pacer.prompt_budget(num_generating)
        pacer.observe(num_generating, budget, decode_seconds + token_seconds * budget)
    return pacer


def test_nothing_is_paced_while_nobody_generates() -> None:
    pacer = make_pacer()
    assert pacer.prompt_budget(0) == MAX_STEP_TOKENS
    pacer.observe(0, MAX_STEP_TOKENS, 60.0)
    assert pacer.prompt_budget(0) == MAX_STEP_TOKENS


def test_without_a_target_prompts_take_what_fits() -> None:
    pacer = make_pacer(target=0)
    pacer.observe(3, 100, 60.0)
    assert pacer.prompt_budget(3) == MAX_STEP_TOKENS - 3


def test_decodes_are_measured_before_a_prompt_is_let_in_beside_them() -> None:
    pacer = make_pacer()
    for _ in range(NUM_DECODE_SAMPLES):
        assert pacer.prompt_budget(2) == 0
        pacer.observe(2, 0, 0.03)
    assert pacer.prompt_budget(2) > 0


def test_the_first_chunk_is_small_and_the_next_ones_grow_step_by_step() -> None:
    pacer = make_pacer()
    machine = Machine(prompt=0.0002, noise=0)
    budgets = [step.budget for step in take(run(machine, pacer, lambda step: 1, repeat(9999)), 12)]
    assert budgets[:5] == [0, 0, 0, 0, FIRST_PROMPT_TOKENS]
    assert all(later <= MAX_GROWTH * before for before, later in pairwise(budgets[4:]))
    assert budgets[-1] > 400


def test_what_a_lone_prompt_cost_is_known_when_the_next_one_meets_a_generation() -> None:
    pacer = make_pacer()
    for _ in range(2):
        pacer.observe(0, 500, 500 * 0.002)
    for _ in range(NUM_DECODE_SAMPLES):
        pacer.observe(1, 0, 0.05)
    assert pacer.prompt_budget(1) == pytest.approx((TARGET - 0.05) / 0.002, abs=1)


def test_the_same_target_leaves_less_for_prompts_when_more_generate() -> None:
    pacer = taught_pacer(1, 0.05, 0.002)
    few = pacer.prompt_budget(1)
    for _ in range(NUM_DECODE_SAMPLES):
        pacer.observe(8, 0, 0.1)
    assert few == pytest.approx(75, abs=2)
    assert pacer.prompt_budget(8) == pytest.approx(50, abs=2)


def test_one_step_that_takes_very_long_changes_next_to_nothing() -> None:
    pacer = taught_pacer(2, 0.05, 0.002)
    budget = pacer.prompt_budget(2)
    pacer.observe(2, budget, 7.0)
    assert pacer.prompt_budget(2) == pytest.approx(budget, abs=2)
    pacer.observe(2, 0, 7.0)
    assert pacer.prompt_budget(2) == pytest.approx(budget, abs=2)


def test_the_last_few_tokens_of_a_prompt_teach_nothing() -> None:
    pacer = taught_pacer(2, 0.05, 0.002)
    budget = pacer.prompt_budget(2)
    for number in range(10):
        pacer.observe(2, 1, 0.07 if number % 2 else 0.05)
    assert pacer.prompt_budget(2) == pytest.approx(budget, abs=2)


def test_a_prompt_goes_on_however_dear_its_tokens_are() -> None:
    pacer = taught_pacer(2, 0.05, 10.0)
    assert pacer.prompt_budget(2) == 1


def test_a_few_dear_tokens_keep_to_the_target_too() -> None:
    pacer = taught_pacer(1, 0.05, 0.04)
    assert pacer.prompt_budget(1) == 3


def test_decodes_that_exceed_the_target_leave_prompts_their_share() -> None:
    pacer = taught_pacer(16, 0.6, 0.002)
    seconds = pacer.prompt_budget(16) * 0.002
    assert seconds / (0.6 + seconds) == pytest.approx(MIN_PROMPT_SHARE, abs=0.01)


def test_the_step_is_never_overfilled() -> None:
    pacer = Pacer(16, TARGET)
    for _ in range(NUM_DECODE_SAMPLES):
        pacer.observe(12, 0, 0.01)
    assert pacer.prompt_budget(12) == 4
    assert Pacer(16, TARGET).prompt_budget(16) == 0


MACHINES: dict[str, Callable[[int], Machine]] = {
    "plain": lambda seed: Machine(seed=seed),
    "fast prompts": lambda seed: Machine(prompt=0.0003, seed=seed),
    "steep attention": lambda seed: Machine(growth=1 / 1500, seed=seed),
    "dear tokens": lambda seed: Machine(prompt=0.015, growth=1 / 2000, seed=seed),
    "bound by memory": lambda seed: Machine(is_bound_by_memory=True, seed=seed),
    "noisy": lambda seed: Machine(noise=0.1, outliers=0.01, seed=seed),
}
LOADS: dict[str, Callable[[int], int]] = {
    "one chatter": lambda step: 1,
    "ten": lambda step: 10,
    "one to thirty-two": lambda step: 1 + step // 20 % 32,
    "decodes take all": lambda step: 60,
    "now and then": lambda step: 4 if step % 100 < 30 else 0,
}


def share_of_long_steps(steps: Iterable[Step]) -> float:
    """Of those with prompts beside a generation, how many are over 1.3 times what is allowed."""
    mixed = [step for step in steps if step.num_generating and step.num_prompt_tokens]
    return sum(step.seconds > 1.3 * step.allowed_seconds for step in mixed) / len(mixed)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("kind", MACHINES)
@pytest.mark.parametrize("seed", range(2))
def test_gaps_keep_to_the_target(kind: str, load: str, seed: int) -> None:
    machine = MACHINES[kind](seed)
    random = Random(seed)
    prompts = (random.choice([3, 20, 100, 2000, 6000]) for _ in count())
    steps = run(machine, make_pacer(), LOADS[load], prompts)
    take(steps, NUM_LEARNING_STEPS)
    assert share_of_long_steps(take(steps, 800)) <= 0.05


@pytest.mark.parametrize("kind", MACHINES)
def test_prompts_get_what_the_target_leaves(kind: str) -> None:
    steps = run(MACHINES[kind](0), make_pacer(), lambda step: 4, repeat(6000))
    take(steps, NUM_LEARNING_STEPS)
    mixed = [step for step in take(steps, 500) if step.num_prompt_tokens == step.budget > 0]
    seconds = sorted(step.seconds for step in mixed if step.allowed_seconds == TARGET)
    assert len(seconds) > 50
    assert seconds[len(seconds) // 2] == pytest.approx(TARGET, rel=0.1)


@pytest.mark.parametrize("num_generating", [1, 10, 25, 60])
@pytest.mark.parametrize("seed", range(3))
def test_a_neighbour_that_comes_and_goes_is_noticed(num_generating: int, seed: int) -> None:
    steps = run(
        Machine(seed=seed),
        make_pacer(),
        lambda step: num_generating,
        repeat(6000),
        slowness=lambda step: 2.0 if step // 150 % 2 else 1.0,
    )
    take(steps, NUM_LEARNING_STEPS)
    assert share_of_long_steps(take(steps, 1200)) <= 0.05


@pytest.mark.parametrize("num_generating", [1, 10, 25, 60])
@pytest.mark.parametrize("is_slow_later", [False, True])
def test_a_prompt_is_slowed_down_by_the_documented_bound_at_most(
    num_generating: int, is_slow_later: bool
) -> None:
    machine = Machine(seed=num_generating)
    slowness = 2.0 if is_slow_later else 1.0
    num_tokens = 6000
    steps = run(
        machine,
        make_pacer(),
        lambda step: num_generating,
        [num_tokens],
        slowness=lambda step: slowness if step > 100 else 1.0,
    )
    seconds = 0.0
    while num_tokens:
        step = next(steps)
        num_tokens -= step.num_prompt_tokens
        seconds += step.seconds
    machine.slowness = slowness
    decode_share = machine.exact_seconds(num_generating, 0, 0) / TARGET
    prompt_share = max(MIN_PROMPT_SHARE, 1 - decode_share)
    assert seconds < 1.15 * machine.seconds_alone(6000) / prompt_share


def test_few_steps_are_spent_on_measuring_decodes() -> None:
    steps = run(Machine(), make_pacer(), lambda step: 10, repeat(6000))
    take(steps, NUM_LEARNING_STEPS)
    num_empty = sum(step.budget == 0 for step in take(steps, 10 * MAX_AGE))
    assert 0 < num_empty <= 12 * NUM_DECODE_SAMPLES


def test_a_machine_that_never_calms_down_is_not_measured_all_the_time() -> None:
    steps = run(Machine(noise=0.5), make_pacer(), lambda step: 10, repeat(6000))
    num_empty = sum(step.budget == 0 for step in take(steps, 10 * MIN_CALM))
    assert num_empty <= 11 * NUM_DECODE_SAMPLES


def test_no_measuring_is_needed_when_steps_without_prompts_come_anyway() -> None:
    steps = run(Machine(), make_pacer(), lambda step: 3, (0 if n % 20 else 10 for n in count()))
    take(steps, NUM_LEARNING_STEPS)
    assert all(step.budget for step in take(steps, 1000))


@pytest.mark.parametrize("seed", range(10))
def test_whatever_is_observed_prompts_fit_and_go_on(seed: int) -> None:
    random = Random(seed)
    pacer = Pacer(random.choice([64, 100, 512]), random.choice([1e-6, 0.05, 10.0]))
    num_refused = 0
    for _ in range(500):
        num_generating = random.choice([0, 0, 1, 1, 2, 5, 30, 63])
        budget = pacer.prompt_budget(num_generating)
        assert 0 <= budget <= MAX_STEP_TOKENS - num_generating
        num_refused = num_refused + 1 if budget == 0 else 0
        assert num_refused <= NUM_DECODE_SAMPLES * 7, "a prompt starves"
        num_tokens = random.randint(0, budget)
        seconds = random.choice([0.0, 1e-6, random.random(), random.expovariate(0.01)])
        if num_generating or num_tokens:
            pacer.observe(num_generating, num_tokens, seconds)
