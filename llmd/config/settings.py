"""Every setting of llmd: what it means, its default and its bounds.

The descriptions are the texts of `llmd serve --help` and of configs/reference.toml. A key is
spelled the same everywhere: `[server] port` in the file, LLMD_SERVER__PORT in the environment,
--port.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from llmd.config.byte_size import ByteSize

CacheType = Literal["f16", "f32", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"]
FlashAttention = Literal["auto", "on", "off"]
PoolingType = Literal["mean", "cls", "last", "rank", "none"]
LogLevel = Literal["error", "warning", "info", "debug"]

# os.path, as Path.expanduser raises where the user is unknown.
UserPath = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]

NumBytes = Annotated[ByteSize, PlainValidator(ByteSize.parse)]

MAX_TOKENS = 2**31 - 1
"""llama.cpp counts tokens in 32 bits."""

MAX_THREADS = 512
"""GGML_MAX_N_THREADS (ggml.h)."""

_UNQUANTIZED = ("f16", "f32", "bf16")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_true_as_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1, and `threads = true` is nobody's wish.
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation not in (
            bool,
            bool | None,
        ):
            raise ValueError("true and false are no value for it")
        return value


class SamplingDefaults(_Section):
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


class ServerSettings(_Section):
    """[server]: where and how llmd listens."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every interface."
    )
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    uds: UserPath | None = Field(
        None, description="Listen on a Unix domain socket at this path in place of host and port."
    )
    log_level: LogLevel = Field("info", description="The least severe messages to log.")
    log_json: bool = Field(False, description="Log one JSON object per line.")
    strict_model_names: bool = Field(
        False,
        description="Answer 404 to an unknown model name, also where one model alone is served.",
    )
    sse_ping_interval: float = Field(
        10,
        ge=0,
        le=3600,
        description="Seconds of silence in a stream before a comment keeps it open; 0 is never.",
    )
    max_body_bytes: int = Field(
        64 * 2**20, ge=1024, le=2**40, description="The largest request body, in bytes."
    )
    shutdown_grace: int = Field(
        10, ge=0, le=3600, description="Seconds that running requests get to finish at shutdown."
    )
    state_dir: Literal["auto", "none"] | UserPath = Field(
        "auto",
        description="Where stored responses are kept: auto is $STATE_DIRECTORY or "
        "$XDG_STATE_HOME/llmd, none is in memory only.",
    )
    state_max_age: int = Field(
        30, ge=1, le=36_500, description="Days that a stored response is kept after its last use."
    )
    state_max_bytes: NumBytes = Field(
        ByteSize(2**30), description="Most that stored responses may take; 0 stores none."
    )


class ModelSettings(_Section):
    """[model], and each [models.NAME]: one model and how it runs."""

    source: str = Field(
        "tiny",
        min_length=1,
        description="The model: path of a .gguf file, or tiny, the bundled one.",
    )
    alias: str | None = Field(
        None, min_length=1, description="The id that clients see; left out, it follows the source."
    )
    ctx_size: int = Field(
        0,
        ge=0,
        le=MAX_TOKENS,
        description="Tokens of context per request; 0 is the model's own, as memory allows.",
    )
    parallel: int = Field(
        0, ge=0, le=256, description="Sequences that are decoded together; 0 chooses."
    )
    kv_tokens: int = Field(
        0,
        ge=0,
        le=MAX_TOKENS,
        description="Tokens in the KV pool that all sequences share; 0 chooses from memory.",
    )
    max_queue: int = Field(
        256,
        ge=0,
        le=MAX_TOKENS,
        description="Answers that may wait for their turn, beyond those that run; 0 is none.",
    )
    max_itl_ms: float = Field(
        250,
        ge=0,
        le=3_600_000,
        description="Longest gap that a prompt read beside it may leave in an answer; 0 is any.",
    )
    cache_ram: NumBytes = Field(
        ByteSize(2 * 2**30),
        description="Host memory for prompts that were computed and are not in use; 0 is none.",
    )
    cache_dir: UserPath | None = Field(
        None, description="Keep computed prompts in this directory too, also over a restart."
    )
    cache_disk: NumBytes = Field(
        ByteSize(10 * 2**30), description="Most that the files in cache_dir may take."
    )
    swa_full: bool = Field(
        True,
        description="Keep the whole cache of sliding-window layers, so that any beginning of a "
        "prompt can be reused; off, they take less memory.",
    )
    batch_size: int = Field(
        512, ge=1, le=65536, description="Most tokens in one step, over all sequences."
    )
    ubatch_size: int = Field(
        512, ge=1, le=65536, description="Most tokens that are computed at once within a step."
    )
    threads: int = Field(
        0,
        ge=0,
        le=MAX_THREADS,
        description="Threads that generate; 0 is the physical cores this process may use.",
    )
    threads_batch: int = Field(
        0, ge=0, le=MAX_THREADS, description="Threads that read prompts; 0 is as many as threads."
    )
    gpu_layers: Literal["auto"] | Annotated[int, Field(ge=0, le=10_000)] = Field(
        "auto", description="Layers on the GPU; auto is all of them where the build has a GPU."
    )
    flash_attn: FlashAttention = Field("auto", description="Flash attention.")
    cache_type_k: CacheType = Field("f16", description="Type of the keys in the KV cache.")
    cache_type_v: CacheType = Field("f16", description="Type of the values in the KV cache.")
    chat_template: UserPath | None = Field(
        None, description="A Jinja file in place of the model's own chat template."
    )
    embeddings: bool = Field(
        False, description="Embed texts, and write none, also where the file does not ask for it."
    )
    pooling: PoolingType | None = Field(
        None,
        description="How a text's vectors become one, if not as the file says; none writes text.",
    )
    sampling: SamplingDefaults = Field(
        default_factory=SamplingDefaults, description="Sampling defaults."
    )

    @model_validator(mode="after")
    def _quantized_values_need_flash_attention(self) -> ModelSettings:
        if self.flash_attn == "off" and self.cache_type_v not in _UNQUANTIZED:
            raise ValueError(
                f"cache_type_v {self.cache_type_v} needs flash attention: set flash_attn to auto "
                f"or on, or cache_type_v to f16"
            )
        return self


class Settings(_Section):
    """The whole configuration, as llmd.config.load.load makes it.

    `model` is the model to serve. `models` holds it once more under its name where it comes of a
    [models.NAME] section, and is empty where it does not.
    """

    server: ServerSettings = Field(default_factory=ServerSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    models: dict[str, ModelSettings] = Field(default_factory=dict)
