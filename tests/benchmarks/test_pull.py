from __future__ import annotations

import json
from pathlib import Path

import pytest
from pull import main


def test_both_are_measured_and_only_one_gets_bytes_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), "--megabytes", "1", "--rounds", "1", "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["num_bytes"], result["rounds"]) == (1_000_000, 1)
    assert min(result["llmd_seconds"], result["library_cpu"], result["again_seconds"]) > 0
    assert result["llmd_sent_twice"] == 0
    assert list(tmp_path.iterdir()) == []
