"""Every setting of llmd: what it means, its default and its bounds.

The descriptions are the texts of `llmd serve --help` and of configs/reference.toml. A key is
spelled the same everywhere: `[server] port` in the file, LLMD_SERVER__PORT in the environment,
--port.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from llmd.config.byte_size import ByteSize
from llmd.config.duration import Duration
from llmd.config.sampling_defaults import SamplingDefaults
from llmd.config.section import (
    MAX_TOKENS,
    Contradiction,
    NumBytes,
    Seconds,
    Secrets,
    Section,
    Texts,
    UserPath,
)

CacheType = Literal["f16", "f32", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"]
FlashAttention = Literal["auto", "on", "off"]
PoolingType = Literal["mean", "cls", "last", "rank", "none"]
LogLevel = Literal["error", "warning", "info", "debug"]

MAX_THREADS = 512
"""GGML_MAX_N_THREADS (ggml.h)."""

_UNQUANTIZED = ("f16", "f32", "bf16")


class ServerSettings(Section):
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
    record: UserPath | None = Field(
        None,
        description="Write requests and answers, their texts included, to files in this directory, "
        "for llmd replay; keys are left out.",
    )
    record_max_bytes: NumBytes = Field(
        ByteSize(256 * 2**20),
        description="Most that the files in record may take; the oldest make room.",
    )
    metrics: bool = Field(True, description="Serve /metrics for Prometheus.")
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
    stuck_after: Seconds = Field(
        Duration(120),
        description="An engine that is at one step for so long, and four times as long as at any "
        "before, is stuck: llmd is not ready then. 0 is never.",
    )
    exit_when_stuck: bool = Field(
        False,
        description="End when an engine is stuck, for a container runtime that starts llmd again; "
        "under systemd it always does.",
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
    memory_budget: NumBytes = Field(
        ByteSize(0),
        description="Memory that all loaded models may take together, devices included; 0 is what "
        "is free. Models that are not in use make room for others.",
    )
    idle_unload: Seconds = Field(
        Duration(0),
        description="Unload a model that was not used for so long; it is loaded again when it is "
        "asked for. 0 is never.",
    )
    api_key: Secrets = Field(
        (),
        description="A key that clients must bring, and that may do everything; several are "
        "separated by commas. Others see it in the list of processes: LLMD_API_KEY keeps it out.",
    )
    keys_file: Literal["none"] | UserPath = Field(
        "none",
        description="A file of keys that clients must bring, and of what each may do; see llmd key "
        "new.",
    )
    request_timeout: Seconds = Field(
        Duration(86_400),
        description="An answer that is not done so long after its request came ends with what it "
        "has. 0 is never.",
    )
    receive_timeout: Seconds = Field(
        Duration(30),
        description="A request that comes in slower than 16 KiB in this time is given up; 0 never.",
    )
    send_timeout: Seconds = Field(
        Duration(60),
        description="A client that reads less than 16 KiB of its answer in this time is given up; "
        "0 never.",
    )
    keep_alive_timeout: Seconds = Field(
        Duration(75), description="How long a connection without a request stays open."
    )
    max_output_tokens: int = Field(
        0,
        ge=0,
        le=MAX_TOKENS,
        description="The most tokens of one answer; 0 is what the context has room for.",
    )
    max_messages: int = Field(
        20_000, ge=1, le=MAX_TOKENS, description="The most messages or items of one request."
    )
    max_tools: int = Field(2_048, ge=1, le=MAX_TOKENS, description="The most tools of one request.")
    max_schema_bytes: NumBytes = Field(
        ByteSize(2**20),
        description="The largest tool, JSON schema or grammar, and chat_template_kwargs.",
    )
    max_schema_depth: int = Field(200, ge=1, le=250, description="The most levels in any of them.")
    max_stop_strings: int = Field(
        256, ge=1, le=MAX_TOKENS, description="The most stop strings of one request."
    )
    max_logit_biases: int = Field(
        65_536, ge=1, le=MAX_TOKENS, description="The most tokens in one logit_bias."
    )
    cors: Texts = Field(
        (),
        description="An origin whose web pages may use this daemon, such as "
        "https://chat.example.com; * is every one. Several are separated by commas.",
    )
    allowed_hosts: Texts = Field(
        (),
        description="A further name under which clients reach a daemon that listens on this "
        "machine only, such as its proxy's; * is every one. Several are separated by commas.",
    )
    root_path: Annotated[str, StringConstraints(pattern=r"^(/[^/?#\s]+)*$")] = Field(
        "",
        description="A path that a proxy puts before all routes, such as /llm; it may take it off "
        "or leave it.",
    )
    forwarded_allow_ips: Texts = Field(
        ("127.0.0.1", "::1"),
        description="Addresses and networks of proxies whose X-Forwarded-For and -Proto are "
        "believed; * is every one. Several are separated by commas.",
    )
    uds_mode: Annotated[str, StringConstraints(pattern=r"^0?[0-7]{3}$")] = Field(
        "600", description="Who may use the socket at uds, as chmod takes it."
    )


class ModelSettings(Section):
    """[model], and each [models.NAME]: one model and how it runs."""

    source: str = Field(
        "tiny",
        min_length=1,
        description="The model: path of a .gguf file, or tiny, the bundled one.",
    )
    alias: str | None = Field(
        None, min_length=1, description="The id that clients see; left out, it follows the source."
    )
    preload: bool | None = Field(
        None,
        description="Load the model at the start and not when it is first asked for; left out, so "
        "for a model that is served alone, and the first that the command line names.",
    )
    ttl: Seconds | None = Field(
        None, description="This model's own idle_unload: how long it stays loaded without use."
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

    @field_validator("cache_type_v")
    @classmethod
    def _quantized_values_need_flash_attention(
        cls, value: CacheType, info: ValidationInfo
    ) -> CacheType:
        if info.data.get("flash_attn") == "off" and value not in _UNQUANTIZED:
            raise Contradiction(
                f"{value} needs flash attention: set flash_attn to auto or on, or this one to f16"
            )
        return value


class Settings(Section):
    """The whole configuration, as llmd.config.load.load makes it.

    `models` holds every model to serve under its served id, in order, at least one. `model` is
    what they start from.
    """

    server: ServerSettings = Field(default_factory=ServerSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    models: dict[str, ModelSettings] = Field(default_factory=lambda: {"tiny": ModelSettings()})
