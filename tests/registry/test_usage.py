from __future__ import annotations

from clocks import FakeClock

from llmd.config.duration import NEVER
from llmd.registry.usage import Usage


class Model:
    """A usage, and how often it expired."""

    def __init__(self, default: float = 60) -> None:
        self.clock = FakeClock()
        self.num_expired = 0
        self.usage = Usage(self.clock, self._expire)
        self.usage.keep(default)

    def _expire(self) -> None:
        self.num_expired += 1


def test_a_model_that_nobody_used_expires_after_its_load() -> None:
    model = Model(60)
    assert model.usage.expires_at == model.clock.now + 60
    model.clock.advance(59)
    assert model.num_expired == 0
    model.clock.advance(1)
    assert model.num_expired == 1


def test_time_counts_from_the_end_of_the_last_use() -> None:
    model = Model(60)
    model.usage.begin("first", None)
    model.usage.begin("second", None)
    model.clock.advance(1000)
    model.usage.end("first")
    assert model.usage.expires_at is None and model.usage.is_busy
    model.clock.advance(1000)
    model.usage.end("second")
    assert model.usage.last_used == model.clock.now
    model.clock.advance(59)
    assert model.num_expired == 0
    model.clock.advance(1)
    assert model.num_expired == 1


def test_a_use_that_begins_in_time_stops_the_end() -> None:
    model = Model(60)
    model.clock.advance(59)
    model.usage.begin("user", None)
    model.clock.advance(100)
    assert model.num_expired == 0


def test_a_request_may_ask_for_another_time_and_the_last_one_holds() -> None:
    model = Model(NEVER)
    model.usage.begin("a", 5)
    model.usage.end("a")
    assert model.usage.expires_at == model.clock.now + 5
    model.usage.begin("b", None)
    model.usage.end("b")
    assert model.usage.expires_at == model.clock.now + 5
    model.usage.begin("c", NEVER)
    model.usage.end("c")
    assert model.usage.expires_at is None


def test_zero_ends_it_with_its_last_use() -> None:
    model = Model(60)
    model.usage.begin("a", 0)
    model.usage.begin("b", None)
    model.usage.end("a")
    model.clock.advance(0)
    assert model.num_expired == 0
    model.usage.end("b")
    model.clock.advance(0)
    assert model.num_expired == 1


def test_another_default_counts_from_the_last_use() -> None:
    model = Model(NEVER)
    model.clock.advance(50)
    model.usage.keep(60)
    model.clock.advance(9)
    assert model.num_expired == 0
    model.clock.advance(1)
    assert model.num_expired == 1


def test_ending_twice_is_ending_once() -> None:
    model = Model()
    model.usage.begin("a", None)
    model.usage.end("a")
    model.clock.advance(10)
    model.usage.end("a")
    assert model.usage.last_used == model.clock.now - 10


def test_after_its_close_nothing_expires() -> None:
    model = Model()
    model.usage.begin("a", None)
    model.usage.close()
    model.usage.end("a")
    model.clock.advance(1000)
    assert model.num_expired == 0
