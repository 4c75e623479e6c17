from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
from constrained import VARIANTS, Bench, measure

pytestmark = pytest.mark.gguf


@pytest.fixture(scope="module")
def bench(toy_path: Path) -> Iterator[Bench]:
    bench = Bench(toy_path, Namespace(sequences=[2], tokens=200, temperature=0.7, threads=1))
    yield bench
    bench.close()


def test_every_variant_is_measured_against_its_like(bench: Bench) -> None:
    rows = {row.variant: row for row in measure(bench, 2, 2)}
    assert list(rows) == [variant.name for variant in VARIANTS]
    assert rows["free"].ratio == 1
    for row in rows.values():
        assert min(row.tokens_per_second, row.cpu_ms_per_token, row.own_us_per_token) > 0


def test_only_the_jumping_variant_computes_several_tokens_at_once(bench: Bench) -> None:
    rounds = {variant.name: bench.run(variant, 2, 1) for variant in VARIANTS}
    jumping = rounds.pop("jumping")
    assert jumping.num_tokens < 2 * 200
    assert jumping.num_steps < min(each.num_steps for each in rounds.values())
    assert {each.num_steps for each in rounds.values()} == {199}
