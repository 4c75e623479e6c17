from __future__ import annotations

import pytest

from llmd.core.sampling import SamplingParams


def test_later_layers_win() -> None:
    params = SamplingParams().override({"top_k": 1, "top_p": 0.5}, {}, {"top_k": 2})
    assert (params.top_k, params.top_p) == (2, 0.5)


def test_what_no_layer_names_stays() -> None:
    assert SamplingParams().override({}) == SamplingParams()


def test_an_override_leaves_the_original_alone() -> None:
    original = SamplingParams()
    original.override({"temperature": 0.1})
    assert original.temperature == 0.8


def test_an_unknown_field_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="heat"):
        SamplingParams().override({"heat": 1})
