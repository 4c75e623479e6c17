from __future__ import annotations

import pytest

from llmd.api.openai.samplers import DEFAULT_SAMPLERS, only_samplers
from llmd.core.sampling import SamplingParams


def test_all_of_them_change_nothing() -> None:
    assert only_samplers(list(DEFAULT_SAMPLERS)) == {"infill": False}
    assert only_samplers("edskypmxt") == {"infill": False}


def test_none_of_them_leave_the_models_own_distribution() -> None:
    params = SamplingParams(repeat_penalty=2, dry_multiplier=1).override(only_samplers([]))
    assert (params.temperature, params.top_k, params.top_p, params.min_p) == (1, 0, 1, 0)
    assert (params.typical_p, params.repeat_penalty, params.dry_multiplier) == (1, 1, 0)


@pytest.mark.parametrize("wanted", [["top_k", "infill"], ["top-k", "INFILL"], "ki"])
def test_names_are_read_as_llama_server_reads_them(wanted: list[str] | str) -> None:
    overrides = only_samplers(wanted)
    assert overrides["infill"] is True
    assert "top_k" not in overrides and overrides["top_p"] == 1


def test_unknown_names_are_ignored() -> None:
    assert only_samplers(["top_k", "adaptive_p"]) == only_samplers(["top_k"])
