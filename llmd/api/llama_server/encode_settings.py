"""Sampling parameters as llama-server tells them."""

from __future__ import annotations

from typing import Any

from llmd.api.openai.samplers import DEFAULT_SAMPLERS
from llmd.core.sampling import SamplingParams

_SAME_NAMES = (
    "temperature dynatemp_range dynatemp_exponent top_k top_p min_p top_n_sigma xtc_probability "
    "xtc_threshold typical_p repeat_last_n repeat_penalty presence_penalty frequency_penalty "
    "dry_multiplier dry_base dry_allowed_length dry_penalty_last_n dry_sequence_breakers mirostat "
    "mirostat_tau mirostat_eta ignore_eos min_keep"
).split()

ANY_SEED = 0xFFFFFFFF
"""Stands for a seed that each request draws."""


def sampling_settings(params: SamplingParams) -> dict[str, Any]:
    """The part of generation_settings that the model's or the configuration's defaults decide."""
    samplers = [*DEFAULT_SAMPLERS, *(("infill",) if params.infill else ())]
    return {
        "seed": ANY_SEED if params.seed is None else params.seed,
        **{name: getattr(params, name) for name in _SAME_NAMES},
        # A ban is an infinite bias, for which JSON has null.
        "logit_bias": [{"token": token, "bias": bias} for token, bias in params.logit_bias],
        "samplers": samplers,
        "lora": [],
    }
