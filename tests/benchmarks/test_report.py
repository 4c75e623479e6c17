from __future__ import annotations

import pytest
from report import (
    METRICS,
    Exchange,
    Report,
    format_report,
    format_results,
    percentile,
    summarize,
)


def test_a_percentile_lies_between_two_values() -> None:
    assert percentile([4.0, 1.0, 2.0, 3.0], 0.5) == 2.5


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.99) == 7.0


def test_errors_count_but_their_tokens_do_not() -> None:
    good = Exchange(1.0, [1.5, 1.75], ended=2.0, num_output_tokens=2)
    bad = Exchange(1.0, [1.5], ended=2.0, num_output_tokens=9, error="status 500")
    report = summarize([good, bad, Exchange(1.0)], wall_seconds=1.0, client_cpu_seconds=0.0)
    assert (report.num_requests, report.num_errors) == (3, 2)
    assert report.errors == {"status 500": 1, "no text": 1}
    assert report.num_output_tokens == 2


def test_times_are_in_milliseconds() -> None:
    good = Exchange(1.0, [1.5, 1.75], ended=2.0, num_output_tokens=2)
    report = summarize([good], wall_seconds=1.0, client_cpu_seconds=0.0)
    assert report.first_p50 == pytest.approx(500)
    assert report.gap_max == pytest.approx(250)
    assert report.stream_tokens_per_second == pytest.approx(4)


def test_one_answer_that_tells_no_cache_leaves_the_sum_unknown() -> None:
    told = Exchange(1.0, [1.5], ended=2.0, num_prompt_tokens=4, num_cached_tokens=3)
    untold = Exchange(1.0, [1.5], ended=2.0, num_prompt_tokens=4)
    one = summarize([told], wall_seconds=1.0, client_cpu_seconds=0.0)
    both = summarize([told, untold], wall_seconds=1.0, client_cpu_seconds=0.0)
    assert (one.num_cached_tokens, both.num_cached_tokens) == (3, None)


def test_results_are_medians_with_their_range() -> None:
    rounds = [summarize([Exchange(1.0)], wall_seconds=w, client_cpu_seconds=0.0) for w in (1, 2, 4)]
    text = format_results({"wall_seconds": ("wall", ".1f")}, {"a": rounds, "b": rounds[:1]})
    assert text.splitlines()[1].split() == ["wall", "2.0", "(1.0", "-", "4.0)", "1.0"]


def test_what_no_round_measured_is_a_dash() -> None:
    rounds = [summarize([Exchange(1.0)], wall_seconds=1.0, client_cpu_seconds=0.0)]
    text = format_results({"server_cpu_seconds": ("CPU", ".1f")}, {"a": rounds})
    assert text.splitlines()[1].split() == ["CPU", "-"]


def test_every_metric_is_a_field_of_a_report() -> None:
    assert set(METRICS) == set(Report.__dataclass_fields__) - {"errors"}


def test_a_report_without_any_answer_can_be_printed() -> None:
    report = summarize([Exchange(1.0)], wall_seconds=1.0, client_cpu_seconds=0.0)
    assert "no text" in format_report(report)
