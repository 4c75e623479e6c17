from __future__ import annotations

from dataclasses import replace

from compare import format_comparison, ratios
from report import Exchange, Report, summarize


def report_of(tokens_per_second: float) -> Report:
    report = summarize(
        [Exchange(0.0, [1.0, 2.0], ended=2.0, num_output_tokens=2)],
        wall_seconds=1.0,
        client_cpu_seconds=0.0,
    )
    return replace(report, tokens_per_second=tokens_per_second)


def test_ratios_pair_the_rounds() -> None:
    fast, slow = [report_of(4.0), report_of(9.0)], [report_of(2.0), report_of(3.0)]
    assert ratios(fast, slow, "tokens_per_second") == [2.0, 3.0]


def test_what_was_not_measured_has_no_ratio() -> None:
    assert ratios([report_of(1.0)], [report_of(1.0)], "server_cpu_seconds") == []


def test_the_table_compares_with_the_first_server() -> None:
    text = format_comparison({"a": [report_of(2.0)], "b": [report_of(3.0)]})
    assert "b / a" in text
    assert "1.500" in text
