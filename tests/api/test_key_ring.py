"""What a key has in use, by a clock of the test's own."""

from __future__ import annotations

import pytest

from llmd.api.key_ring import KeyRing, KeyUse
from llmd.config.api_keys import ApiKey, digest_of
from llmd.errors import RateLimitExceeded


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ring_of(clock: Clock | None = None, **fields: object) -> tuple[KeyRing, KeyUse]:
    key = ApiKey(name="alice", digest=digest_of("secret"), **fields)  # type: ignore[arg-type]
    ring = KeyRing([key], clock=clock or Clock())
    use = ring.find("secret")
    assert use is not None
    return ring, use


def headers(use: KeyUse) -> dict[str, str]:
    return {name.decode().rpartition("x-ratelimit-")[2]: v.decode() for name, v in use.headers()}


@pytest.mark.parametrize("secret", ["", "Secret", "secret ", "secre", "secret2", "s\udcffcret"])
def test_only_the_secret_itself_finds_its_key(secret: str) -> None:
    ring, _ = ring_of()
    assert ring.find(secret) is None


def test_every_key_is_compared_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def compare(mine: bytes, given: bytes) -> bool:
        seen.append((mine, given))
        return mine == given

    monkeypatch.setattr("llmd.api.key_ring.compare_digest", compare)
    ring = KeyRing([ApiKey(name=n, digest=digest_of(n)) for n in ("a", "b", "c")])
    for secret in ("a", "c", "nobody"):
        seen.clear()
        ring.find(secret)
        # Digests all, so that their length says nothing either.
        assert seen == [(digest_of(name), digest_of(secret)) for name in ("a", "b", "c")]


def test_as_many_requests_begin_in_a_minute_as_may() -> None:
    clock = Clock()
    _, use = ring_of(clock, requests_per_minute=2)
    for _ in range(2):
        use.take().release()
    with pytest.raises(RateLimitExceeded, match=r"Try again in 30\.0 s\.$") as refused:
        use.take()
    assert refused.value.retry_after == 30
    clock.now += 29.9
    with pytest.raises(RateLimitExceeded) as refused:
        use.take()
    assert refused.value.retry_after == 1
    clock.now += 0.1
    use.take()


def test_a_pause_saves_up_one_minute_and_no_more() -> None:
    clock = Clock()
    _, use = ring_of(clock, requests_per_minute=3)
    clock.now += 3600
    for _ in range(3):
        use.take()
    with pytest.raises(RateLimitExceeded):
        use.take()


def test_the_headers_tell_what_is_left_in_openais_words() -> None:
    clock = Clock()
    _, use = ring_of(clock, requests_per_minute=60)
    use.take()
    expected = {"limit-requests": "60", "remaining-requests": "59", "reset-requests": "1s"}
    assert headers(use) == expected
    clock.now += 0.5
    assert headers(use)["reset-requests"] == "500ms"
    _, slow = ring_of(clock, requests_per_minute=1)
    slow.take()
    assert headers(slow) == {
        "limit-requests": "1", "remaining-requests": "0", "reset-requests": "1m0s"
    }  # fmt: skip


def test_a_key_without_a_rate_has_no_headers() -> None:
    _, use = ring_of(concurrency=1)
    assert use.headers() == []


def test_no_more_requests_are_under_way_than_may_be() -> None:
    _, use = ring_of(concurrency=2)
    first, _ = use.take(), use.take()
    with pytest.raises(RateLimitExceeded, match="of the key alice are under way"):
        use.take()
    first.release()
    use.take()


def test_one_refused_for_others_under_way_costs_no_request_of_the_minute() -> None:
    _, use = ring_of(concurrency=1, requests_per_minute=2)
    slot = use.take()
    with pytest.raises(RateLimitExceeded):
        use.take()
    slot.release()
    use.take()


def test_work_that_goes_on_counts_until_it_ends() -> None:
    _, use = ring_of(concurrency=1)
    slot = use.take()
    slot.hold()
    slot.release()
    assert use.num_running == 1
    slot.release()
    assert use.num_running == 0


def test_other_limits_hold_at_once_and_what_is_used_stays_used() -> None:
    ring, use = ring_of(requests_per_minute=10)
    running = [use.take() for _ in range(8)]
    assert headers(use)["remaining-requests"] == "2"
    ring.replace([ApiKey(name="alice", digest=digest_of("other"), requests_per_minute=4)])
    assert ring.find("secret") is None and ring.find("other") is use
    assert headers(use)["remaining-requests"] == "2"
    assert use.num_running == len(running)
    ring.replace([ApiKey(name="alice", digest=digest_of("other"), requests_per_minute=20)])
    assert headers(use)["remaining-requests"] == "18"


def test_a_key_that_is_taken_away_is_known_no_more() -> None:
    ring, _ = ring_of()
    ring.replace([])
    assert ring.is_empty and ring.find("secret") is None
