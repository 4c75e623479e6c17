"""A clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Call:
    due: float
    callback: Callable[[], object]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class FakeClock:
    """Passes as an event loop where only its time and its timers are used."""

    now: float = 1000.0
    calls: list[Call] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Call:
        call = Call(self.now + delay, callback)
        self.calls.append(call)
        return call

    def advance(self, seconds: float) -> None:
        """Time passes, and what is due is called."""
        self.now += seconds
        due = [call for call in self.calls if call.due <= self.now]
        self.calls = [call for call in self.calls if call.due > self.now]
        for call in sorted(due, key=lambda call: call.due):
            if not call.is_cancelled:
                call.callback()
