from __future__ import annotations

import json
from pathlib import Path

import pytest
from responses_store import main


def test_all_is_measured_and_nothing_is_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--responses", "20", "--turns", "5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["num_responses"], result["num_turns"]) == (20, 5)
    assert 0 < result["get"]["median"] <= result["get"]["p99"] <= result["get"]["worst"]
    assert result["json_bytes"] > 1000 and result["file_bytes"] > 500
    assert list(tmp_path.iterdir()) == []


def test_the_table_names_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path), "--responses", "10", "--turns", "2"])
    out = capsys.readouterr().out
    assert all(name in out for name in ("save", "last_saves", "get", "chain", "in the file"))
