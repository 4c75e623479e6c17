from __future__ import annotations

from llmd.engine.governor import INTERVAL, ThreadGovernor


class Machine:
    """Two processors, this process, and others."""

    def __init__(self) -> None:
        self.now = 100.0
        self.own = 7.0
        self.others = 50.0
        self.is_known = True

    def governor(self, max_threads: int = 2, num_processors: int = 2) -> ThreadGovernor:
        return ThreadGovernor(
            max_threads,
            num_processors,
            busy_seconds=lambda: self.own + self.others if self.is_known else None,
            own_seconds=lambda: self.own,
            clock=lambda: self.now,
        )

    def run(self, seconds: float, *, own: float = 0.0, others: float = 0.0) -> None:
        """Let time pass with so many processors' worth of work."""
        self.now += seconds
        self.own += seconds * own
        self.others += seconds * others


def test_alone_all_threads_compute() -> None:
    machine = Machine()
    governor = machine.governor()
    machine.run(1, own=2.0)
    assert governor.num_threads() == 2


def test_a_busy_neighbour_costs_one_thread_until_it_is_done() -> None:
    machine = Machine()
    governor = machine.governor()
    machine.run(1, own=1.3, others=0.7)
    assert governor.num_threads() == 1
    machine.run(1, own=1.0)
    assert governor.num_threads() == 2


def test_one_thread_is_always_left() -> None:
    machine = Machine()
    governor = machine.governor()
    machine.run(1, own=0.1, others=1.9)
    assert governor.num_threads() == 1


def test_small_work_of_others_costs_nothing() -> None:
    machine = Machine()
    governor = machine.governor()
    machine.run(1, own=1.8, others=0.2)
    assert governor.num_threads() == 2


def test_processors_beyond_the_threads_are_for_others() -> None:
    machine = Machine()
    governor = machine.governor(max_threads=4, num_processors=8)
    machine.run(1, own=4, others=3)
    assert governor.num_threads() == 4
    machine.run(1, own=4, others=6)
    assert governor.num_threads() == 2


def test_it_looks_only_once_in_an_interval() -> None:
    machine = Machine()
    governor = machine.governor()
    machine.run(INTERVAL / 2, others=2.0)
    assert governor.num_threads() == 2
    machine.run(INTERVAL / 2, others=2.0)
    assert governor.num_threads() == 1


def test_where_nothing_is_known_the_threads_stay() -> None:
    machine = Machine()
    machine.is_known = False
    governor = machine.governor()
    machine.run(1, others=2.0)
    assert governor.num_threads() == 2
