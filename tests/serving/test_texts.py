from __future__ import annotations

import pytest

from llmd.errors import ContextLengthExceeded
from llmd.serving.texts import fitted


def fit(num_tokens: int, *, num_kept: int = 0, truncate: bool = True) -> tuple[int, ...]:
    return fitted(range(num_tokens), 4, num_kept=num_kept, truncate=truncate, param="input.0")


def test_what_fits_is_left_as_it_is() -> None:
    assert fit(4, num_kept=1) == (0, 1, 2, 3)


def test_what_does_not_is_cut_before_its_ending() -> None:
    assert fit(9) == (0, 1, 2, 3)
    assert fit(9, num_kept=1) == (0, 1, 2, 8)
    assert fit(9, num_kept=9) == (5, 6, 7, 8)


def test_or_refused_with_both_numbers() -> None:
    with pytest.raises(ContextLengthExceeded) as error:
        fit(9, truncate=False)
    assert (error.value.num_prompt_tokens, error.value.context_size) == (9, 4)
    assert error.value.param == "input.0"
