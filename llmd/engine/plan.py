"""How a model is run: every value that was left open is chosen here, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmd.config.processors import usable_threads
from llmd.config.settings import ModelSettings
from llmd.config.size_text import size_text
from llmd.engine.fit import MIN_CELLS, NO_LIMITS, Limits, most_cells, place_layers, shape_of, shrink
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.engine.scheduler import MAX_SCORED_TOKENS
from llmd.llama import library
from llmd.llama.context import ContextParams, MemoryTraits
from llmd.store.memory_need import MemoryNeed
from llmd.store.model_file import ModelFile

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
    num_gpu_layers: int
    """The output counts as one behind the last."""
    estimate: MemoryEstimate
    exact_params: ContextParams
    """Of the context for one deterministic sequence."""
    exact_bytes: int
    """Of host memory that this takes beside all else, while such a sequence runs."""
    effective: tuple[EffectiveValue, ...]

    @classmethod
    def make(
        cls,
        file: ModelFile,
        need: MemoryNeed,
        settings: ModelSettings,
        memory: Memory,
        limits: Limits = NO_LIMITS,
    ) -> Plan:
        """From the file's header alone, whose `need` is given. Raises NotEnoughMemory, with the
        numbers, where there is not room for it.
        """
        trained = file.context_length or MIN_CELLS
        parallel, num_ids, parallel_reason = _choose_parallel(need, settings)
        params = _least_params(settings, parallel, num_ids, trained)
        layers = place_layers(need, shape_of(need, params), settings, memory, limits)
        upper = max(params.num_cells, max(parallel, DEFAULT_PARALLEL) * trained)
        room = _find_room(need, params, layers[0], memory, limits.num_cells or upper)
        context_size, context_reason = _choose_context(trained, settings, room)
        num_cells, cells_reason = settings.kv_tokens, "as set"
        if not num_cells:
            num_cells = max(context_size, min(parallel * context_size, room.num_cells))
            cells_reason = f"{parallel} x {context_size}, within {room.reason}"
            if limits.num_cells is not None:
                cells_reason = "it did not run with more"
        if num_cells < context_size:
            context_size, context_reason = num_cells, "--kv-tokens bounds it"
        params = replace(params, num_cells=num_cells)
        cache_ram = choose_cache_ram(settings, memory)
        context = need.of_context(shape_of(need, params))
        estimate = MemoryEstimate.of(need, context, layers[0], cache_ram[0])
        memory.check(estimate, name=str(file.path), flags=_flags_set(settings))
        rows = (
            EffectiveValue("context per request", f"{context_size}", context_reason, "--ctx-size"),
            EffectiveValue("KV pool", f"{num_cells} tokens", cells_reason, "--kv-tokens"),
            EffectiveValue("parallel sequences", f"{parallel}", parallel_reason, "--parallel"),
            *_rows(settings, params),
            EffectiveValue("prompt cache", size_text(cache_ram[0]), cache_ram[1],
                           "--cache-ram"),
            EffectiveValue("GPU layers", f"{layers[0]}", layers[1], "--gpu-layers"),
            memory_row(estimate, memory),
        )  # fmt: skip
        exact_params = _exact_params(params, context_size)
        exact = need.of_context(shape_of(need, exact_params))
        return cls(
            params=params,
            context_size=context_size,
            num_sequences=parallel,
            num_ids=num_ids,
            cache_ram=cache_ram[0],
            adapts_threads=not (settings.threads or settings.threads_batch),
            num_gpu_layers=layers[0],
            estimate=estimate,
            exact_params=exact_params,
            exact_bytes=MemoryEstimate.of(need, exact, layers[0]).host_context,
            effective=rows,
        )

    def shrunk(self, settings: ModelSettings, need: MemoryNeed, limits: Limits) -> Limits | None:
        """What to try after llama.cpp refused this plan, which was made within `limits`; None where
        all that is left was set.
        """
        is_open = not settings.kv_tokens and not need.is_recurrent
        return shrink(
            num_cells=self.params.num_cells if is_open else None,
            min_cells=settings.ctx_size or min(self.context_size, MIN_CELLS),
            num_gpu_layers=limits.open_layers(self.num_gpu_layers, settings),
            num_layers=len(need.layers),
        )


@dataclass(frozen=True, slots=True)
class _Room:
    """How many cells memory has room for, and what bounds them."""

    num_cells: int
    reason: str


def memory_row(estimate: MemoryEstimate, memory: Memory) -> EffectiveValue:
    """What the model takes, of what there was."""
    on_gpus = f", {size_text(estimate.device)} of it on GPUs" if estimate.device else ""
    reason = f"{estimate}{on_gpus}; {size_text(memory.host_bytes)} free"
    return EffectiveValue("memory", size_text(estimate.total), reason, "--memory-budget")


def choose_cache_ram(settings: ModelSettings, memory: Memory) -> tuple[int, str]:
    """Bytes of host memory for prompts that are not in use, and why."""
    wanted = int(settings.cache_ram)
    if "cache_ram" in settings.model_fields_set:
        return wanted, "as set"
    bound = int(memory.host_bytes * CACHE_SHARE)
    if bound < wanted:
        return bound, f"{CACHE_SHARE:.0%} of {size_text(memory.host_bytes)} free memory"
    return wanted, "default"


def _choose_parallel(need: MemoryNeed, settings: ModelSettings) -> tuple[int, int, str]:
    """Sequences that run together, ids in all, and why."""
    traits = MemoryTraits.of(need, swa_full=settings.swa_full)
    parallel, reason = settings.parallel, "as set"
    if not parallel:
        parallel, reason = DEFAULT_PARALLEL, "default"
        if need.has_recurrent_state:
            parallel = DEFAULT_PARALLEL_RECURRENT
            reason = "default of models with recurrent state"
    max_ids = MAX_IDS_WINDOW if traits.has_twins else MAX_IDS
    if parallel > max_ids - 1:
        parallel, reason = max_ids - 1, "the most of this kind of model"
    return parallel, min(parallel + (NUM_KEEPERS if traits.cuts else 0), max_ids - 1), reason


def _least_params(
    settings: ModelSettings, parallel: int, num_ids: int, trained: int
) -> ContextParams:
    """With a pool as small as it may become."""
    num_threads = settings.threads or usable_threads().count
    batch_size = max(settings.batch_size, parallel + MAX_SCORED_TOKENS)
    return ContextParams(
        num_cells=settings.kv_tokens or settings.ctx_size or min(trained, MIN_CELLS),
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


def _exact_params(params: ContextParams, context_size: int) -> ContextParams:
    return replace(params, num_cells=context_size, num_sequences=1, max_rows=1 + MAX_SCORED_TOKENS)


def _find_room(
    need: MemoryNeed, params: ContextParams, num_gpu_layers: int, memory: Memory, upper: int
) -> _Room:
    def fits(num_cells: int) -> bool:
        context = need.of_context(shape_of(need, replace(params, num_cells=num_cells)))
        estimate = MemoryEstimate.of(need, context, num_gpu_layers)
        on_host = estimate.cache - estimate.device_cache
        return on_host <= num_free * CACHE_SHARE and memory.holds(estimate)

    least = MemoryEstimate.of(need, need.of_context(shape_of(need, params)), num_gpu_layers)
    # Mapped weights count as available memory, though they are about to be used.
    num_free = max(0, memory.host_bytes - (least.weights - least.device_weights))
    if need.is_recurrent:
        return _Room(upper, "no attention cache")
    reason = f"{CACHE_SHARE:.0%} of {size_text(num_free)} free memory"
    if least.device_cache:
        reason = f"{size_text(memory.device)} of GPU memory"
    return _Room(most_cells(fits, upper), reason)


def _choose_context(trained: int, settings: ModelSettings, room: _Room) -> tuple[int, str]:
    if settings.ctx_size:
        beyond = f", beyond the {trained} it was trained for" if settings.ctx_size > trained else ""
        return settings.ctx_size, f"as set{beyond}"
    if trained <= room.num_cells:
        return trained, "what the model was trained for"
    return room.num_cells, f"what memory allows of the {trained} it was trained for"


def _flags_set(settings: ModelSettings) -> str:
    """Those to make smaller where there is not room for them."""
    wanted = {
        "--ctx-size": settings.ctx_size,
        "--kv-tokens": settings.kv_tokens,
        "--parallel": settings.parallel,
    }
    return " or ".join(flag for flag, value in wanted.items() if value) or "--batch-size"


def thread_row(settings: ModelSettings, num_threads: int) -> EffectiveValue:
    reason = "as set" if settings.threads else f"at most; {usable_threads().reason}"
    return EffectiveValue("threads", f"{num_threads}", reason, "--threads")


def _rows(settings: ModelSettings, params: ContextParams) -> tuple[EffectiveValue, ...]:
    """Of what does not depend on memory."""
    return (
        thread_row(settings, params.num_threads),
        EffectiveValue("waiting", library.WAIT_POLICY, "for each other", "OMP_WAIT_POLICY"),
        EffectiveValue("tokens per step", f"{params.batch_size}", "at most", "--batch-size"),
        EffectiveValue("KV types", f"{params.cache_type_k} / {params.cache_type_v}", "K / V",
                       "--cache-type-k, --cache-type-v"),
    )  # fmt: skip
