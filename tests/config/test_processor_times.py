from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from llmd.config.processor_times import busy_seconds, own_processors

STAT = """\
cpu  1000 100 300 90000 500 10 20 30 0 0
cpu0 600 60 200 40000 300 5 15 20 40 0
cpu1 400 40 100 50000 200 5 5 10 0 0
intr 12345
"""


def test_idle_and_waiting_for_disks_is_no_work(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(STAT)
    ticks = os.sysconf("SC_CLK_TCK")
    assert busy_seconds({1}, tmp_path) == pytest.approx((400 + 40 + 100 + 5 + 5 + 10) / ticks)


def test_only_the_given_processors_count(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(STAT)
    both, first, second = (busy_seconds(cpus, tmp_path) for cpus in ({0, 1}, {0}, {1}))
    assert both is not None and first is not None and second is not None
    assert both == pytest.approx(first + second)


def test_without_a_count_nothing_is_known(tmp_path: Path) -> None:
    assert busy_seconds({0}, tmp_path) is None


def test_this_process_s_work_shows_in_the_real_count() -> None:
    processors = own_processors()
    if processors is None or busy_seconds(processors) is None:
        pytest.skip("this system does not tell")
    before = busy_seconds(processors)
    start = time.process_time()
    while time.process_time() - start < 0.3:
        pass
    after = busy_seconds(processors)
    assert before is not None and after is not None
    assert after - before >= 0.2
