"""The keys in force, and what each of them has in use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from hmac import compare_digest

from llmd.config.api_keys import ApiKey, digest_of
from llmd.errors import RateLimitExceeded

Clock = Callable[[], float]


class KeyUse:
    """One key and its use. Event loop only."""

    def __init__(self, key: ApiKey, clock: Clock) -> None:
        self.key = key
        self.num_running = 0
        """Requests under way, those in the background included."""
        self._clock = clock
        self._num_left = float(key.requests_per_minute or 0)
        self._counted_at = clock()

    def change(self, key: ApiKey) -> None:
        """From now on the key allows something else; what is used up stays so."""
        self._refill()
        before, after = self.key.requests_per_minute or 0, key.requests_per_minute or 0
        self._num_left = min(self._num_left + max(0, after - before), after)
        self.key = key

    def take(self) -> Slot:
        """Let one more request begin. Raises RateLimitExceeded, and then it counts for nothing."""
        key = self.key
        if key.concurrency is not None and self.num_running >= key.concurrency:
            raise RateLimitExceeded(
                f"{self.num_running} requests of the key {key.name} are under way, and no more may "
                f"be at once. Wait for one of them to end.",
                retry_after=1,
            )
        if key.requests_per_minute is not None:
            self._refill()
            if self._num_left < 1:
                seconds = (1 - self._num_left) * 60 / key.requests_per_minute
                raise RateLimitExceeded(
                    f"the key {key.name} may send {key.requests_per_minute} requests per minute. "
                    f"Try again in {seconds:.1f} s.",
                    retry_after=max(1, math.ceil(seconds)),
                )
            self._num_left -= 1
        return Slot(self)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What is left, in the words of the OpenAI API; nothing where nothing is counted."""
        per_minute = self.key.requests_per_minute
        if per_minute is None:
            return []
        self._refill()
        until_full = (per_minute - self._num_left) * 60 / per_minute
        return [
            (b"x-ratelimit-limit-requests", b"%d" % per_minute),
            (b"x-ratelimit-remaining-requests", b"%d" % self._num_left),
            (b"x-ratelimit-reset-requests", _duration(until_full).encode()),
        ]

    def _refill(self) -> None:
        # A bucket that runs full within a minute: who was silent may send all of them at once.
        per_minute, now = self.key.requests_per_minute or 0, self._clock()
        grown = (now - self._counted_at) * per_minute / 60
        self._num_left = min(float(per_minute), self._num_left + grown)
        self._counted_at = now


class Slot:
    """One request under way; whoever works on it holds it."""

    def __init__(self, use: KeyUse) -> None:
        self._use = use
        self._num_holders = 1
        use.num_running += 1

    def hold(self) -> None:
        """The request goes on after its answer. `release` is due once more."""
        self._num_holders += 1

    def release(self) -> None:
        self._num_holders -= 1
        if self._num_holders == 0:
            self._use.num_running -= 1


class KeyRing:
    """The keys of which a request must bring one; none leaves the daemon open."""

    def __init__(self, keys: Iterable[ApiKey] = (), *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, KeyUse] = {}
        self.replace(keys)

    @property
    def is_empty(self) -> bool:
        return not self._uses

    def replace(self, keys: Iterable[ApiKey]) -> bool:
        """These are the keys from now on; whether they are others than before. One that keeps its
        name keeps what it has in use.
        """
        before, self._uses = self._uses, {}
        known = [use.key for use in before.values()]
        for key in keys:
            use = before.get(key.name)
            if use is None:
                use = KeyUse(key, self._clock)
            else:
                use.change(key)
            self._uses[key.name] = use
        return known != [use.key for use in self._uses.values()]

    def find(self, secret: str) -> KeyUse | None:
        """The key with that secret. Takes as long for every secret, whether there is one or not."""
        digest, found = digest_of(secret), None
        for use in self._uses.values():
            if compare_digest(use.key.digest, digest):
                found = use
        return found


def _duration(seconds: float) -> str:
    """`1s`, `6m0s`, `20ms`: as the OpenAI API writes it."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
