"""How the next token is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

SamplingOverrides = Mapping[str, Any]
"""Field names of SamplingParams to values: what a request, a config or a model file sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """One complete choice of sampling parameters, with llama.cpp's names, meanings and defaults
    (include/llama.h and common/common.h, struct common_params_sampling).

    Ranges are checked where a request or a configuration enters; here they are taken as valid.
    """

    temperature: float = 0.8
    """0 or below is greedy."""
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    """0 or below keeps the whole vocabulary."""
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    min_keep: int = 0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    """Tokens that the penalties look back at: 0 is none, -1 the whole context."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    """0 off, 1 Mirostat, 2 Mirostat 2.0; on, it replaces the truncating samplers."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    seed: int | None = None
    """None draws a fresh seed for each request."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False
    infill: bool = False
    """Weigh the end of the text against what else is likely, as filling a gap needs it
    (llama_sampler_init_infill in include/llama.h)."""

    def override(self, *layers: SamplingOverrides) -> SamplingParams:
        """These parameters with each layer's fields laid over them, later layers winning."""
        changed = self
        for layer in layers:
            changed = replace(changed, **layer)
        return changed
