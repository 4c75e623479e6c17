from __future__ import annotations

from pathlib import Path

import numpy as np
from engine.test_engine import run
from engine.test_parking import disk_tier, parking, state, tokens
from fakes import FakeRunner, fake_engine, fake_request

from llmd.engine.cache_hits import CacheHits
from llmd.engine.radix import RadixTree


def test_tokens_count_for_the_place_where_they_were_and_only_as_far_as_they_were_reused(
    tmp_path: Path,
) -> None:
    lot = parking(15, disk_tier(tmp_path))
    beginning = RadixTree("scope").root.add_child(tokens("abc"))
    end = beginning.add_child(tokens("defg"))
    lot.park(beginning, state(10))
    lot.park(end, state(10))  # ends go first
    assert [lot.is_stored(beginning), lot.is_stored(end)] == [False, True]
    hits = CacheHits(lot)
    hits.note(hits.locate([beginning, end]), 5)
    assert (hits.num_live, hits.num_in_ram, hits.num_on_disk) == (0, 3, 2)
    assert lot.num_evicted == len(end)


def test_what_is_live_and_parked_too_was_live() -> None:
    node = RadixTree("scope").root.add_child(np.arange(4, dtype=np.int32))
    lot = parking(100)
    lot.park(node, state(10))
    hits = CacheHits(lot)
    hits.note(hits.locate([node]), 4)
    node.is_live = True
    hits.note(hits.locate([node]), 4)
    assert (hits.num_live, hits.num_in_ram) == (4, 4)


def test_an_engine_tells_hits_in_its_memory() -> None:
    engine = fake_engine(FakeRunner(256))
    for id in "ab":
        engine.add(fake_request(id, "the same prompt", max_tokens=1))
        run(engine)
    stats = engine.stats()
    assert (stats.num_live_hits, stats.num_ram_hits, stats.num_disk_hits) == (14, 0, 0)
    assert stats.num_cached_tokens == 14


def test_an_engine_tells_hits_in_ram() -> None:
    engine = fake_engine(FakeRunner(24), cache_ram=1 << 20)
    for id, prompt in (("a", "the same prompt"), ("b", "x" * 20), ("c", "the same prompt")):
        engine.add(fake_request(id, prompt, max_tokens=1))
        run(engine)
    stats = engine.stats()
    assert stats.num_ram_hits > 0
    assert stats.num_live_hits + stats.num_ram_hits == stats.num_cached_tokens
