"""SamplingParams as a native chain of samplers."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from llmd.core.sampling import SamplingParams
from llmd.llama.tokenizer import Tokenizer

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("probability", np.float32)])
"""llama.h llama_token_data."""

_RANDOM_SEED = 0xFFFFFFFF  # llama.h LLAMA_DEFAULT_SEED: llama.cpp would draw its own

_OTHER_SEED = 0x1E3779B9
"""Makes the numbers of second draws others than those of the first ones."""

_MAX_INFILL = 64
"""Candidates of the infill sampler, which compares each with each other one: over a whole
vocabulary a single token would take hours."""


class SamplerChain:
    """The samplers of one sequence, in llama.cpp's own order (common/sampling.cpp): bias,
    penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature, infill, then the
    draw. Mirostat replaces the truncating ones. Engine thread only; `free` gives the native memory
    back.
    """

    def __init__(
        self, params: SamplingParams, tokenizer: Tokenizer, *, seed: int, context_size: int
    ) -> None:
        """`seed` is any integer; its low 32 bits count."""
        self._chain = llama_cpp.llama_sampler_chain_init(
            llama_cpp.llama_sampler_chain_default_params()
        )
        self._array = llama_cpp.llama_token_data_array()
        self._candidates: NDArray[np.void] | None = None
        self._draw: Any = None
        self._seed = seed & 0xFFFFFFFF
        if self._seed == _RANDOM_SEED:
            self._seed = 0
        self._add_bias(params, tokenizer)
        self._add_penalties(params, tokenizer, context_size)
        if params.temperature <= 0:
            self._add(llama_cpp.llama_sampler_init_greedy())
            return
        self._draw = llama_cpp.llama_sampler_init_dist(self._seed & 0x7FFFFFFF ^ _OTHER_SEED)
        if params.mirostat:
            self._add_mirostat(params, tokenizer.num_tokens)
        else:
            self._add_truncation(params, tokenizer)

    def sample(self, candidates: NDArray[np.void]) -> int:
        """Draw a token from `candidates` (dtype CANDIDATE, at least one); reorders them."""
        self._candidates = candidates  # `redraw` reads what the samplers left in this memory
        return self._apply(self._chain, candidates)

    def redraw(self, allowed: NDArray[np.bool_]) -> int | None:
        """Draw again, from the same probabilities as the last `sample` did, among the tokens for
        which `allowed` holds: what drawing until one is allowed would give. None where all of
        these were truncated, and at temperature 0.
        """
        if self._draw is None:
            return None
        array = self._array
        address = ctypes.cast(array.data, ctypes.c_void_p).value
        buffer = (ctypes.c_ubyte * (array.size * CANDIDATE.itemsize)).from_address(address or 0)
        left = np.frombuffer(memoryview(buffer), CANDIDATE)
        self._candidates = left[allowed[left["id"]]]
        return self._apply(self._draw, self._candidates) if len(self._candidates) else None

    def accept(self, token_id: int) -> None:
        """Tell the penalties that this token now stands in the text."""
        llama_cpp.llama_sampler_accept(self._chain, token_id)

    def free(self) -> None:
        """Idempotent."""
        if self._chain:
            llama_cpp.llama_sampler_free(self._chain)
            self._chain = None
        if self._draw:
            llama_cpp.llama_sampler_free(self._draw)
            self._draw = None

    def _apply(self, sampler: Any, candidates: NDArray[np.void]) -> int:
        array = self._array
        pointer: Any = ctypes.cast(candidates.ctypes.data, llama_cpp.llama_token_data_p)
        array.data = pointer
        array.size = len(candidates)
        array.selected = -1
        array.sorted = False
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
        # Samplers may put other data in the place of ours.
        return int(array.data[array.selected].id)

    def _add(self, sampler: object) -> None:
        llama_cpp.llama_sampler_chain_add(self._chain, sampler)

    def _add_bias(self, params: SamplingParams, tokenizer: Tokenizer) -> None:
        if not params.logit_bias:
            return
        biases = (llama_cpp.llama_logit_bias * len(params.logit_bias))(
            *(llama_cpp.llama_logit_bias(token=t, bias=b) for t, b in params.logit_bias)
        )
        self._add(
            llama_cpp.llama_sampler_init_logit_bias(tokenizer.num_tokens, len(biases), biases)
        )

    def _add_penalties(
        self, params: SamplingParams, tokenizer: Tokenizer, context_size: int
    ) -> None:
        last_n = params.repeat_last_n if params.repeat_last_n >= 0 else context_size
        self._add(
            llama_cpp.llama_sampler_init_penalties(
                tokenizer.num_tokens,
                last_n,
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            )
        )
        if params.dry_multiplier:
            breakers = [text.encode() for text in params.dry_sequence_breakers]
            array = (ctypes.c_char_p * len(breakers))(*breakers)
            dry_last_n = params.dry_penalty_last_n
            self._add(
                llama_cpp.llama_sampler_init_dry(
                    tokenizer.handle,
                    params.dry_multiplier,
                    params.dry_base,
                    params.dry_allowed_length,
                    dry_last_n if dry_last_n >= 0 else context_size,
                    array,
                    len(breakers),
                )
            )

    def _add_mirostat(self, params: SamplingParams, num_vocab: int) -> None:
        self._add(llama_cpp.llama_sampler_init_temp(params.temperature))
        tau, eta = params.mirostat_tau, params.mirostat_eta
        if params.mirostat == 1:
            self._add(llama_cpp.llama_sampler_init_mirostat(num_vocab, self._seed, tau, eta, 100))
        else:
            self._add(llama_cpp.llama_sampler_init_mirostat_v2(self._seed, tau, eta))

    def _add_truncation(self, params: SamplingParams, tokenizer: Tokenizer) -> None:
        keep = params.min_keep
        if params.top_n_sigma > 0:
            self._add(llama_cpp.llama_sampler_init_top_n_sigma(params.top_n_sigma))
        if params.top_k > 0:
            self._add(llama_cpp.llama_sampler_init_top_k(params.top_k))
        if params.typical_p < 1:
            self._add(llama_cpp.llama_sampler_init_typical(params.typical_p, keep))
        if params.top_p < 1:
            self._add(llama_cpp.llama_sampler_init_top_p(params.top_p, keep))
        if params.min_p > 0:
            self._add(llama_cpp.llama_sampler_init_min_p(params.min_p, keep))
        if params.xtc_probability > 0:
            self._add(
                llama_cpp.llama_sampler_init_xtc(
                    params.xtc_probability, params.xtc_threshold, keep, self._seed
                )
            )
        self._add(
            llama_cpp.llama_sampler_init_temp_ext(
                params.temperature, params.dynatemp_range, params.dynatemp_exponent
            )
        )
        if params.infill and tokenizer.suits_infill:
            self._add(llama_cpp.llama_sampler_init_top_k(_MAX_INFILL))
            self._add(llama_cpp.llama_sampler_init_infill(tokenizer.handle))
        self._add(llama_cpp.llama_sampler_init_dist(self._seed))
