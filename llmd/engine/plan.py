"""How a model is run: every value that was left open is chosen here, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmd.config.memory import available_memory
from llmd.config.processors import usable_threads
from llmd.config.settings import ModelSettings
from llmd.engine.scheduler import MAX_SCORED_TOKENS
from llmd.llama import library
from llmd.llama.context import ContextParams, MemoryTraits
from llmd.llama.model import LlamaModel

DEFAULT_PARALLEL = 16

DEFAULT_PARALLEL_RECURRENT = 4
"""Where every sequence takes its block of state whether it is used or not."""

CACHE_SHARE = 0.25
"""Of the memory that is free, what an automatic KV pool may take once the weights are in, and the
prompt cache."""

MAX_IDS = 255
"""A llama.cpp context has 256 (LLAMA_MAX_SEQ in src/llama-cparams.h), of which one may be needed to
save states."""

MAX_IDS_WINDOW = 127
"""Where each id has a twin (LlamaContext)."""

NUM_KEEPERS = 31
"""Ids for idle prefixes: with 16 sequences and one id for copies, as many as there are rows of
logits anyway."""


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """A row of the start-up table: what holds, why, and the flag that changes it."""

    name: str
    value: str
    reason: str
    flag: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is run."""

    params: ContextParams
    context_size: int
    num_sequences: int
    """That run together."""
    num_ids: int
    """For sequences that run, and for idle prefixes that stay in memory."""
    cache_ram: int
    adapts_threads: bool
    """Nobody set the number of threads, so it may follow what the machine has free."""
    effective: tuple[EffectiveValue, ...]

    @property
    def exact_params(self) -> ContextParams:
        """Of the context for one deterministic sequence."""
        return replace(
            self.params,
            num_cells=self.context_size,
            num_sequences=1,
            max_rows=1 + MAX_SCORED_TOKENS,
        )

    @classmethod
    def make(cls, model: LlamaModel, settings: ModelSettings) -> Plan:
        """On the engine thread, which owns the model."""
        traits = MemoryTraits.of(model, swa_full=settings.swa_full)
        parallel, parallel_reason = settings.parallel, "as set"
        if not parallel:
            parallel, parallel_reason = DEFAULT_PARALLEL, "default"
            if model.has_recurrent_state:
                parallel = DEFAULT_PARALLEL_RECURRENT
                parallel_reason = "default of models with recurrent state"
        max_ids = MAX_IDS_WINDOW if traits.cuts and traits.has_window else MAX_IDS
        if parallel > max_ids - 1:
            parallel, parallel_reason = max_ids - 1, "the most of this kind of model"
        num_ids = min(parallel + (NUM_KEEPERS if traits.cuts else 0), max_ids - 1)
        num_cells_fit, fit_reason = _cells_that_fit(model, settings)
        context_size, context_reason = _choose_context(model, settings, num_cells_fit)
        num_cells, cells_reason = settings.kv_tokens, "as set"
        if not num_cells:
            num_cells = max(context_size, min(parallel * context_size, num_cells_fit))
            cells_reason = f"{parallel} x {context_size}, within {fit_reason}"
        if num_cells < context_size:
            context_size, context_reason = num_cells, "--kv-tokens bounds it"
        threads = usable_threads()
        num_threads = settings.threads or threads.count
        batch_size = max(settings.batch_size, parallel + MAX_SCORED_TOKENS)
        params = ContextParams(
            num_cells=num_cells,
            num_sequences=num_ids + 1,  # one for copies
            max_rows=parallel + MAX_SCORED_TOKENS,
            batch_size=batch_size,
            ubatch_size=min(settings.ubatch_size, batch_size),
            num_threads=num_threads,
            num_threads_batch=settings.threads_batch or num_threads,
            flash_attention=settings.flash_attn,
            cache_type_k=settings.cache_type_k,
            cache_type_v=settings.cache_type_v,
            swa_full=settings.swa_full,
        )
        cache_ram, cache_reason = _choose_cache_ram(settings)
        thread_reason = "as set" if settings.threads else f"at most; {threads.reason}"
        effective = (
            EffectiveValue("context per request", f"{context_size}", context_reason, "--ctx-size"),
            EffectiveValue("KV pool", f"{num_cells} tokens", cells_reason, "--kv-tokens"),
            EffectiveValue("parallel sequences", f"{parallel}", parallel_reason, "--parallel"),
            EffectiveValue("threads", f"{num_threads}", thread_reason, "--threads"),
            EffectiveValue("waiting", library.WAIT_POLICY, "for each other", "OMP_WAIT_POLICY"),
            EffectiveValue("tokens per step", f"{batch_size}", "at most", "--batch-size"),
            EffectiveValue("KV types", f"{params.cache_type_k} / {params.cache_type_v}", "K / V",
                           "--cache-type-k, --cache-type-v"),
            EffectiveValue("prompt cache", f"{cache_ram / 2**30:.1f} GiB", cache_reason,
                           "--cache-ram"),
            EffectiveValue("GPU layers", *gpu_text(settings), "--gpu-layers"),
        )  # fmt: skip
        adapts_threads = not (settings.threads or settings.threads_batch)
        return cls(params, context_size, parallel, num_ids, cache_ram, adapts_threads, effective)


def _cells_that_fit(model: LlamaModel, settings: ModelSettings) -> tuple[int, str]:
    per_token = model.cache_bytes_per_token(settings.cache_type_k, settings.cache_type_v)
    if per_token == 0:
        return model.train_context_length * DEFAULT_PARALLEL, "no attention cache"
    # Mapped weights count as available memory, though they are about to be used.
    num_free = max(0, available_memory().num_bytes - model.num_bytes)
    num_cells = int(num_free * CACHE_SHARE) // per_token // 256 * 256
    return max(256, num_cells), f"{CACHE_SHARE:.0%} of {num_free / 2**30:.1f} GiB free memory"


def _choose_context(
    model: LlamaModel, settings: ModelSettings, num_cells_fit: int
) -> tuple[int, str]:
    trained = model.train_context_length
    if settings.ctx_size:
        beyond = f", beyond the {trained} it was trained for" if settings.ctx_size > trained else ""
        return settings.ctx_size, f"as set{beyond}"
    if trained <= num_cells_fit:
        return trained, "what the model was trained for"
    return num_cells_fit, f"what memory allows of the {trained} it was trained for"


def num_gpu_layers(settings: ModelSettings) -> int:
    if not library.supports_gpu():
        return 0
    return -1 if settings.gpu_layers == "auto" else int(settings.gpu_layers)


def gpu_text(settings: ModelSettings) -> tuple[str, str]:
    """How many layers are placed there, and why."""
    if not library.supports_gpu():
        return "0", "this build of llama-cpp-python is for the CPU"
    if settings.gpu_layers == "auto":
        return "all", "default where the build has a GPU backend"
    return str(settings.gpu_layers), "as set"


def _choose_cache_ram(settings: ModelSettings) -> tuple[int, str]:
    wanted = int(settings.cache_ram)
    if "cache_ram" in settings.model_fields_set:
        return wanted, "as set"
    memory = available_memory()
    bound = int(memory.num_bytes * CACHE_SHARE)
    if bound < wanted:
        return bound, f"{CACHE_SHARE:.0%} of {memory.num_bytes / 2**30:.1f} GiB free memory"
    return wanted, "default"
