from __future__ import annotations

import os
import sys
import time

import pytest
from busy import stay_busy
from process import usage_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def test_usage_counts_the_work_of_a_process() -> None:
    before = usage_of(os.getpid())
    stay_busy(0.05, os.getppid())
    after = usage_of(os.getpid())
    assert before and after
    assert after.cpu_seconds > before.cpu_seconds
    assert after.peak_mib >= after.anonymous_mib > 0


def test_a_process_that_is_gone_has_no_usage() -> None:
    assert usage_of(2**22 + 1) is None


def test_a_neighbour_rests_when_its_parent_is_gone() -> None:
    started = time.monotonic()
    stay_busy(60, parent=-1)
    assert time.monotonic() - started < 5
