from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from compare import Server, format_comparison, ratios, run_once, running
from load import Load
from report import Exchange, Report, summarize


def report_of(tokens_per_second: float) -> Report:
    report = summarize(
        [Exchange(0.0, [1.0, 2.0], ended=2.0, num_output_tokens=2)],
        wall_seconds=1.0,
        client_cpu_seconds=0.0,
    )
    return replace(report, tokens_per_second=tokens_per_second)


def test_a_command_is_filled_in(tmp_path: Path) -> None:
    server = Server("a", "serve '{model} x' --port {port}")
    arguments = server.arguments({"model": "m.gguf", "port": 81}, tmp_path / "a.json")
    assert arguments == ["serve", "m.gguf x", "--port", "81"]


def test_a_config_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    server = Server("a", "serve -C {config}", '{"port": $port}')
    assert server.arguments({"port": 81}, path) == ["serve", "-C", str(path)]
    assert path.read_text() == '{"port": 81}'


def test_ratios_pair_the_rounds() -> None:
    fast, slow = [report_of(4.0), report_of(9.0)], [report_of(2.0), report_of(3.0)]
    assert ratios(fast, slow, "tokens_per_second") == [2.0, 3.0]


def test_what_was_not_measured_has_no_ratio() -> None:
    assert ratios([report_of(1.0)], [report_of(1.0)], "server_cpu_seconds") == []


def test_the_table_compares_with_the_first_server() -> None:
    text = format_comparison({"a": [report_of(2.0)], "b": [report_of(3.0)]})
    assert "b / a" in text
    assert "1.500" in text


def test_a_server_is_stopped_with_its_block(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", "input()"]
    with running(arguments, tmp_path / "log") as process:
        pass
    assert process.returncode is not None


def test_a_server_that_ends_is_quoted(tmp_path: Path) -> None:
    server = Server("a", f"{sys.executable} -c 'raise SystemExit(\"no such port\")'")
    with pytest.raises(RuntimeError, match="no such port"):
        run_once(server, Load(), {}, tmp_path, 0)
