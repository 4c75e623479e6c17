"""Who uses a loaded model, and how long it stays when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from llmd.config.duration import NEVER


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Seconds that pass, and calls when they have; an asyncio event loop is one."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer: ...


class Usage:
    """The users of one model, from one load to its unload. Event loop only.

    When the last one goes, the model has `keep_alive` seconds until `expire` is called, unless
    another comes before. Who used it before it was unloaded counts no more.
    """

    def __init__(self, clock: Clock, expire: Callable[[], None]) -> None:
        self.last_used = clock.time()
        """Seconds of the clock: when it was loaded, or the last user went."""
        self.expires_at: float | None = None
        """Seconds of the clock; None while it is in use, and where it stays."""
        self._clock = clock
        self._expire = expire
        self._users: set[object] = set()
        self._default_keep_alive = NEVER
        self._keep_alive: float | None = None
        self._timer: Timer | None = None
        self._is_closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def now(self) -> float:
        """Of the clock that its times are of."""
        return self._clock.time()

    @property
    def is_busy(self) -> bool:
        return bool(self._users)

    @property
    def num_users(self) -> int:
        return len(self._users)

    def begin(self, user: object, keep_alive: float | None) -> None:
        """`keep_alive` None leaves it as the last one who said something wished."""
        if keep_alive is not None:
            self._keep_alive = keep_alive
        self._users.add(user)
        self._idle.clear()
        self._stop_timer()

    def end(self, user: object) -> None:
        """Idempotent."""
        if user in self._users:
            self._users.remove(user)
            if not self._users:
                self.last_used = self._clock.time()
                self._idle.set()
                self._start_timer()

    def keep(self, default: float) -> None:
        """It stays for `default` seconds after its last use where no user said another time."""
        self._default_keep_alive = default
        if not self._users:
            self._start_timer()

    async def wait_until_idle(self) -> None:
        await self._idle.wait()

    def close(self) -> None:
        """Nothing expires any more."""
        self._is_closed = True
        self._stop_timer()

    def _start_timer(self) -> None:
        self._stop_timer()
        seconds = self._default_keep_alive if self._keep_alive is None else self._keep_alive
        if seconds != NEVER and not self._is_closed:
            self.expires_at = self.last_used + seconds
            left = max(0.0, self.expires_at - self._clock.time())
            self._timer = self._clock.call_later(left, self._expire)

    def _stop_timer(self) -> None:
        self.expires_at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
