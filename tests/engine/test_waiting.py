from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count, islice
from random import Random

import pytest

from llmd.core.sampling import SamplingParams
from llmd.engine import waiting
from llmd.engine.request import Request
from llmd.engine.waiting import MAX_PASSED_OVER, WaitingQueue, fair_order


@dataclass(eq=False)
class Waiting:
    """What the queue reads of a Sequence."""

    request: Request
    arrival: int
    was_set_back: bool = False

    def __repr__(self) -> str:
        return f"{self.request.tenant}{self.arrival}"


_numbers = count()


def make(tenant: str, *, priority: int = 0, was_set_back: bool = False) -> Waiting:
    """A sequence younger than all that were made before it."""
    number = next(_numbers)
    request = Request(
        id=str(number),
        prompts=((1,),),
        sampling=SamplingParams(),
        seed=0,
        tenant=tenant,
        priority=priority,
    )
    return Waiting(request, number, was_set_back)


def make_all(tenants: str) -> list[Waiting]:
    return [make(tenant) for tenant in tenants]


def queue_of(*sequences: Waiting) -> WaitingQueue[Waiting]:
    queue: WaitingQueue[Waiting] = WaitingQueue()
    for sequence in sequences:
        queue.add(sequence)
    return queue


def admit(queue: WaitingQueue[Waiting], num_sequences: int | None = None) -> list[Waiting]:
    """Admit the first so many candidates, or all, in one look at the queue."""
    admitted = []
    for sequence in islice(queue.candidates(), num_sequences):
        queue.admitted(sequence)
        admitted.append(sequence)
    return admitted


def tenants_of(sequences: list[Waiting]) -> str:
    return "".join(sequence.request.tenant for sequence in sequences)


def test_one_tenant_is_served_by_arrival() -> None:
    sequences = make_all("aaaa")
    queue = queue_of(*reversed(sequences))
    assert admit(queue) == sequences
    assert len(queue) == 0


def test_a_higher_priority_goes_first() -> None:
    low, high, middle = make("a"), make("b", priority=5), make("a", priority=1)
    assert admit(queue_of(low, high, middle)) == [high, middle, low]


def test_set_back_goes_before_new_ones_of_its_priority() -> None:
    new, set_back = make("a"), make("b", was_set_back=True)
    assert admit(queue_of(new, set_back)) == [set_back, new]


def test_set_back_does_not_go_before_a_higher_priority() -> None:
    set_back, urgent = make("a", was_set_back=True), make("b", priority=1)
    assert admit(queue_of(set_back, urgent)) == [urgent, set_back]


def test_tenants_take_turns() -> None:
    assert tenants_of(admit(queue_of(*make_all("aaaabbc")))) == "abcabaa"


def test_turns_are_remembered_from_one_look_to_the_next() -> None:
    queue = queue_of(*make_all("aaaabbc"))
    assert tenants_of([*admit(queue, 1), *admit(queue, 1), *admit(queue, 5)]) == "abcabaa"


def test_tenants_take_turns_among_the_set_back_as_well() -> None:
    sequences = [make(tenant, was_set_back=True) for tenant in "aab"]
    assert tenants_of(admit(queue_of(*sequences))) == "aba"


def test_being_admitted_again_after_a_set_back_is_no_turn_among_new_ones() -> None:
    again, first, second = make("a", was_set_back=True), make("a"), make("b")
    assert admit(queue_of(again, first, second)) == [again, first, second]


def test_a_tenant_that_had_no_turn_goes_before_those_that_had_one() -> None:
    queue = queue_of(*make_all("aab"))
    admit(queue, 1)
    for sequence in make_all("bc"):
        queue.add(sequence)
    assert tenants_of(admit(queue)) == "bcab"


def test_a_tenant_that_sends_one_after_another_does_not_overtake_the_patient() -> None:
    queue = queue_of(*make_all("aaaaaa"))
    order = ""
    for _ in range(5):
        queue.add(make("b"))
        order += tenants_of(admit(queue, 2))
    assert order == "ab" * 5


def test_who_is_passed_over_costs_its_tenant_no_turn() -> None:
    blocked, other, patient = make("a"), make("a"), make("b")
    queue = queue_of(blocked, other, patient)
    order = []
    for sequence in queue.candidates():
        order.append(sequence)
        if sequence is not blocked:
            queue.admitted(sequence)
    assert order == [blocked, other, patient]
    assert list(queue) == [blocked]


def test_everybody_is_a_candidate_once_when_nobody_can_run() -> None:
    sequences = make_all("abcabcaa")
    queue = queue_of(*sequences)
    assert sorted(s.arrival for s in queue.candidates()) == [s.arrival for s in sequences]
    assert list(queue.candidates()) == list(queue.candidates()), "looking changes nothing"


def test_only_so_many_of_one_tenant_are_passed_over() -> None:
    queue = queue_of(*(make("a") for _ in range(10 * MAX_PASSED_OVER)), make("b"))
    assert tenants_of(list(queue.candidates())) == "a" * MAX_PASSED_OVER + "b"


def test_who_was_passed_over_does_not_count_once_it_left() -> None:
    sequences = [make("a") for _ in range(MAX_PASSED_OVER + 1)]
    queue = queue_of(*sequences)
    queue.remove(sequences[0])
    assert list(queue.candidates()) == sequences[1:]


def test_removing_costs_no_turn() -> None:
    first, second, other = make("a"), make("a"), make("b")
    queue = queue_of(first, second, other)
    queue.remove(first)
    assert first not in queue
    assert admit(queue) == [second, other]


def test_a_tenant_keeps_its_last_turn_when_its_only_sequence_is_removed() -> None:
    queue = queue_of(*make_all("ab"))
    admit(queue, 1)
    cancelled = make("a")
    queue.add(cancelled)
    queue.remove(cancelled)
    queue.add(make("a"))
    assert tenants_of(admit(queue)) == "ba"


def test_removing_what_does_not_wait_is_an_error() -> None:
    queue = queue_of(make("a"))
    with pytest.raises(KeyError):
        queue.remove(make("a"))
    assert len(queue) == 1


def test_what_joins_and_leaves_during_a_look_does_no_harm() -> None:
    sequences = make_all("aaabbb")
    queue = queue_of(*sequences)
    seen = []
    for sequence in queue.candidates():
        seen.append(sequence)
        if sequence is sequences[0]:
            queue.admitted(sequence)
            queue.remove(sequences[3])
            queue.add(make("a"))
            queue.add(make("c"))
        elif sequence is sequences[4]:
            queue.remove(sequences[5])
    assert seen[:2] == [sequences[0], sequences[4]]
    assert len(seen) == len(set(seen))
    assert sequences[3] not in seen and sequences[5] not in seen
    assert tenants_of(list(queue)) == "aabac"


def test_a_queue_of_thousands_is_not_gone_through_for_each_look() -> None:
    num_reads = 0

    class Counted(Waiting):
        def __getattribute__(self, name: str) -> object:
            nonlocal num_reads
            num_reads += name in {"arrival", "request", "was_set_back"}
            return super().__getattribute__(name)

    queue: WaitingQueue[Waiting] = WaitingQueue()
    for number in range(10_000):
        sequence = make("abc"[number % 3])
        queue.add(Counted(sequence.request, sequence.arrival))
    num_reads = 0
    for _ in range(100):
        admit(queue, 1)
    assert num_reads < 100 * 50
    assert len(queue) == 9_900


def test_the_memory_of_turns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_REMEMBERED", 3)
    queue = queue_of(make("patient", priority=-1))
    for number in range(100):
        queue.add(make(f"tenant {number}"))
        admit(queue, 1)
    assert len(queue._last_turns) == 3


class Checked:
    """A queue under random use, beside what the rules say about every admission."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.queue: WaitingQueue[Waiting] = WaitingQueue()
        self.waiting: list[Waiting] = []
        self.num_overtaken: Counter[tuple[int, bool, str, str]] = Counter()
        """By rank: how often the second tenant was admitted while the first one could have been."""

    def add(self) -> None:
        sequence = make(
            self.random.choice("aaaaabbc") if self.random.random() < 0.9 else "rare",
            priority=self.random.choice([0, 0, 0, 0, 1, -1]),
            was_set_back=self.random.random() < 0.1,
        )
        self.waiting.append(sequence)
        self.queue.add(sequence)

    def remove(self) -> None:
        if self.waiting:
            sequence = self.waiting.pop(self.random.randrange(len(self.waiting)))
            self.queue.remove(sequence)

    def look(self) -> None:
        """One step of a scheduler with some free places that passes some sequences over."""
        num_free = self.random.randrange(4)
        skipping = self.random.choice([0.0, 0.0, 0.3])
        passed: list[Waiting] = []
        if num_free == 0:
            return
        for sequence in self.queue.candidates():
            if self.random.random() < skipping:
                passed.append(sequence)
                continue
            self.check(sequence, [s for s in self.waiting if s not in passed])
            self.waiting.remove(sequence)
            self.queue.admitted(sequence)
            num_free -= 1
            if num_free == 0:
                break

    def check(self, chosen: Waiting, possible: list[Waiting]) -> None:
        request = chosen.request
        assert request.priority == max(s.request.priority for s in possible)
        equals = [s for s in possible if s.request.priority == request.priority]
        assert chosen.was_set_back == any(s.was_set_back for s in equals)
        rank = request.priority, chosen.was_set_back
        peers = [s for s in equals if s.was_set_back == chosen.was_set_back]
        own = [s for s in peers if s.request.tenant == request.tenant]
        assert chosen.arrival == min(s.arrival for s in own)
        possible_tenants = {s.request.tenant for s in peers}
        for tenant in {"a", "b", "c", "rare"} - {request.tenant}:
            pair = (*rank, tenant, request.tenant)
            self.num_overtaken[pair] += 1
            if tenant not in possible_tenants:
                self.num_overtaken[pair] = 0
            assert self.num_overtaken[pair] <= 1, f"{tenant} waited for {request.tenant} twice"
            self.num_overtaken[*rank, request.tenant, tenant] = 0


@pytest.mark.parametrize("seed", range(30))
def test_any_use_keeps_the_rules(seed: int) -> None:
    random = Random(seed)
    checked = Checked(random)
    load = random.choice([0.4, 0.6, 0.8])
    for _ in range(400):
        kind = random.random()
        if kind < load:
            checked.add()
        elif kind < load + 0.05:
            checked.remove()
        else:
            checked.look()
        assert len(checked.queue) == len(checked.waiting)
        assert all(sequence in checked.queue for sequence in checked.waiting)
    while checked.waiting:
        checked.look()
    assert not list(checked.queue) and not checked.queue._order and not checked.queue._lines


def test_shares_go_to_every_tenants_oldest_first() -> None:
    sequences = make_all("aaabbc")
    a1, a2, a3, b1, b2, c1 = sequences
    assert fair_order(reversed(sequences)) == [a1, b1, c1, a2, b2, a3]


def test_shares_go_to_the_higher_priority_first() -> None:
    low, high, lower = make("a"), make("a", priority=2), make("b", priority=-1)
    assert fair_order([low, high, lower]) == [high, low, lower]


@pytest.mark.parametrize("seed", range(10))
def test_nobody_shares_behind_two_of_another_tenant(seed: int) -> None:
    random = Random(seed)
    sequences = [make(random.choice("aaaabbc")) for _ in range(30)]
    shuffled = random.sample(sequences, len(sequences))
    order = fair_order(shuffled)
    assert sorted(order, key=sequences.index) == sequences
    assert order == fair_order(sequences)
    for tenant in "abc":
        own = [s for s in order if s.request.tenant == tenant]
        assert own == sorted(own, key=sequences.index)
        before = Counter(tenants_of(order[: order.index(own[0])]))
        assert all(number == 1 for number in before.values())
