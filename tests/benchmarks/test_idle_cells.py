from __future__ import annotations

from pathlib import Path

import pytest
from idle_cells import STEPS, Bench, measure

from llmd.llama.model import LlamaModel

pytestmark = pytest.mark.gguf


def test_every_part_is_timed_and_the_cells_come_back(llama_path: Path) -> None:
    model = LlamaModel(llama_path)
    bench = Bench(model, 300, 1)
    result = measure(bench, 300, 2)
    assert result.num_cells == 300
    assert min(result.step_alone_ms, result.save_us_per_cell, result.restore_us_per_cell) > 0
    assert bench._position == 2 * 2 * STEPS
    assert bench.context.save_span(1).size > 300
    bench.context.free()
    model.free()
