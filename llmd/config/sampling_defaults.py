"""Sampling parameters as an operator sets them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from llmd.config.section import MAX_TOKENS, Section


class SamplingDefaults(Section):
    """What a request that leaves a sampling field out gets; a field left out here too comes from
    the model file, else from llmd.core.sampling.SamplingParams.
    """

    temperature: float | None = Field(None, ge=0, description="Randomness; 0 is greedy.")
    dynatemp_range: float | None = Field(
        None, ge=0, description="Dynamic temperature: how far it may move; 0 is off."
    )
    dynatemp_exponent: float | None = Field(
        None, ge=0, description="Dynamic temperature: how entropy maps to temperature."
    )
    top_k: int | None = Field(
        None, ge=-1, le=MAX_TOKENS, description="Keep the k likeliest tokens; 0 keeps all."
    )
    top_p: float | None = Field(
        None, ge=0, le=1, description="Keep the likeliest tokens that have this probability in all."
    )
    min_p: float | None = Field(
        None, ge=0, le=1, description="Keep tokens at least this likely, against the likeliest."
    )
    typical_p: float | None = Field(
        None, ge=0, le=1, description="Locally typical sampling; 1 is off."
    )
    top_n_sigma: float | None = Field(
        None, ge=-1, description="Keep logits within n standard deviations of the best; -1 is off."
    )
    xtc_probability: float | None = Field(
        None, ge=0, le=1, description="XTC: how often the top choices are dropped; 0 is off."
    )
    xtc_threshold: float | None = Field(
        None, ge=0, le=1, description="XTC: how likely a token must be to count as a top choice."
    )
    min_keep: int | None = Field(
        None, ge=0, le=MAX_TOKENS, description="Truncating samplers leave at least so many tokens."
    )
    repeat_penalty: float | None = Field(
        None, gt=0, description="Divides the logits of repeated tokens; 1 is off."
    )
    repeat_last_n: int | None = Field(
        None, ge=-1, le=MAX_TOKENS, description="Tokens the penalties look back at; -1 is all."
    )
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="Taken off the logit of a token that was there; 0 is off."
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Taken off for each time a token was there; 0 is off."
    )
    dry_multiplier: float | None = Field(
        None, ge=0, description="DRY, against repeated passages: its strength; 0 is off."
    )
    dry_base: float | None = Field(
        None, ge=1, description="DRY: how fast the penalty grows with the length of the passage."
    )
    dry_allowed_length: int | None = Field(
        None, ge=0, le=MAX_TOKENS, description="DRY: passages up to this length are free."
    )
    dry_penalty_last_n: int | None = Field(
        None, ge=-1, le=MAX_TOKENS, description="DRY: tokens to look back at; -1 is all."
    )
    dry_sequence_breakers: tuple[str, ...] | None = Field(
        None, description="DRY: texts that end a passage."
    )
    mirostat: int | None = Field(
        None, ge=0, le=2, description="Mirostat version in place of the truncating samplers; 0 off."
    )
    mirostat_tau: float | None = Field(None, ge=0, description="Mirostat: the entropy to aim at.")
    mirostat_eta: float | None = Field(None, ge=0, le=1, description="Mirostat: its learning rate.")
    seed: int | None = Field(
        None, ge=0, le=2**32 - 1, description="The seed of every request that brings none."
    )
    ignore_eos: bool | None = Field(
        None, description="Generate on past the end of the turn, up to the token limit."
    )

    def overrides(self) -> dict[str, Any]:
        """The fields that are set, as SamplingParams.override takes them."""
        return self.model_dump(exclude_none=True)
