from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from zoo.llama import write_llama

from llmd.cli import main


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("LLMD_CONFIG", raising=False)
    return tmp_path


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--port", "0", *arguments])


def test_without_a_model_it_describes_the_machine() -> None:
    result = doctor()
    assert result.exit_code == 0, result.output
    names = [line.split("  ")[0] for line in result.output.splitlines()]
    assert {"processor", "memory", "llama.cpp", "hub"} <= set(names)
    assert "verdict" not in names


def test_with_a_model_it_prints_the_plan(directory: Path) -> None:
    path = write_llama(directory / "m.gguf")
    result = doctor(str(path), "--parallel", "3", "--kv-tokens", "1024")
    assert result.exit_code == 0, result.output
    rows = dict(line.split("  ", 1) for line in result.output.splitlines() if "  " in line)
    assert rows["model"].strip() == "m"
    assert rows["KV cache"].strip() == "256 KiB"
    assert rows["KV pool"].strip() == "1024 tokens: as set (--kv-tokens)"
    assert rows["verdict"].strip().startswith("it fits, with ")


def test_a_model_that_cannot_fit_ends_with_1(directory: Path) -> None:
    path = write_llama(directory / "m.gguf")
    result = doctor(str(path), "--ctx-size", "2000000000")
    assert result.exit_code == 1
    assert "it does not fit: " in result.output
    assert "Set a smaller --ctx-size" in result.output


def test_json_has_numbers(directory: Path) -> None:
    path = write_llama(directory / "m.gguf")
    result = doctor(str(path), "--json", "--kv-tokens", "1024")
    model = json.loads(result.output)["model"]
    assert model["fits"] is True
    assert model["estimate"]["cache"] == 1024 * 256
    estimate = model["estimate"]
    parts = ("weights", "cache", "compute", "other")
    assert estimate["total"] == sum(estimate[part] for part in parts)


def test_a_model_that_is_not_there_is_told(directory: Path) -> None:
    result = doctor("none.gguf")
    assert result.exit_code == 1
    assert "no model file none.gguf" in result.output
