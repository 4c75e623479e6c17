"""How a model that embeds or ranks is run: what was left open is chosen here, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmd.config.processors import usable_threads
from llmd.config.settings import ModelSettings
from llmd.config.size_text import size_text
from llmd.core.embedding import Pooling
from llmd.engine.fit import CELLS_STEP, NO_LIMITS, Limits, most_cells, place_layers, shrink
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.engine.plan import CACHE_SHARE, EffectiveValue, memory_row, thread_row
from llmd.errors import InvalidModelFile
from llmd.llama import library
from llmd.llama.pooling_context import PoolingParams
from llmd.store.memory_need import ContextShape, MemoryNeed
from llmd.store.model_file import ModelFile

NUM_SEQUENCES = 128
"""Texts of one step: more than this of the shortest do not make a step cheaper."""

NUM_SEQUENCES_RECURRENT = 4
"""Where every sequence takes its block of state whether it is used or not."""

MAX_SEQUENCES = 256
"""Of a llama.cpp context (LLAMA_MAX_SEQ in src/llama-cparams.h), which also ends the process where
it has more sequences than a batch has tokens."""

STEP_TOKENS_CPU = 256
"""Every token of a step is compared with every other, also of other texts, so that on a CPU larger
steps are slower: benchmarks/README.md."""

ENCODER_SHARE = 0.5
"""Of the memory that is free once the weights are in, what one longest text may take of an encoder,
which takes it only when there is such a text. Of a decoder its cells may take CACHE_SHARE."""


@dataclass(frozen=True, slots=True)
class PoolingPlan:
    """How the model is run."""

    pooling: Pooling
    params: PoolingParams
    context_size: int
    """Most tokens of one text."""
    step_tokens: int
    """Most tokens of one step, unless it has one longer text alone."""
    looks_ahead: bool
    adapts_threads: bool
    num_gpu_layers: int
    """The output counts as one behind the last."""
    estimate: MemoryEstimate
    effective: tuple[EffectiveValue, ...]

    @classmethod
    def make(
        cls,
        file: ModelFile,
        need: MemoryNeed,
        settings: ModelSettings,
        chosen: ChosenPooling,
        memory: Memory,
        limits: Limits = NO_LIMITS,
        *,
        looks_ahead: bool,
    ) -> PoolingPlan:
        """From the file's header alone, whose `need` is given. `looks_ahead` says that a text must
        be computed whole. Raises NotEnoughMemory, with the numbers, where there is not room for it.
        """
        step_tokens, step_reason = _choose_step(settings, memory)
        steps = _Steps.make(settings, need, chosen, step_tokens, looks_ahead=looks_ahead)
        least = steps.shape(settings.ctx_size or CELLS_STEP)
        layers = place_layers(need, least, settings, memory, limits)

        def estimate_of(context_size: int) -> MemoryEstimate:
            return MemoryEstimate.of(need, need.of_context(steps.shape(context_size)), layers[0])

        context_size, context_reason = _choose_context(
            file, settings, memory, limits, estimate_of, looks_ahead=looks_ahead
        )
        estimate = estimate_of(context_size)
        flags = "--ctx-size" if settings.ctx_size else "--batch-size"
        memory.check(estimate, name=str(file.path), flags=flags)
        params = steps.params(context_size)
        parts = "longer texts alone" if looks_ahead else "longer texts in parts"
        rows = (
            EffectiveValue("pooling", chosen.pooling.value, chosen.reason, "--pooling"),
            EffectiveValue("context per text", f"{context_size}", context_reason, "--ctx-size"),
            EffectiveValue("tokens per step", f"{steps.tokens}", f"{step_reason}; {parts}",
                           "--batch-size"),
            EffectiveValue("texts per step", f"{params.num_sequences}",
                           "as set" if settings.parallel else "default", "--parallel"),
            *(() if looks_ahead else _cache_rows(params)),
            thread_row(settings, params.num_threads),
            EffectiveValue("waiting", library.WAIT_POLICY, "for each other", "OMP_WAIT_POLICY"),
            EffectiveValue("GPU layers", f"{layers[0]}", layers[1], "--gpu-layers"),
            memory_row(estimate, memory),
        )  # fmt: skip
        adapts = not (settings.threads or settings.threads_batch)
        return cls(
            chosen.pooling,
            params,
            context_size,
            steps.tokens,
            looks_ahead,
            adapts,
            layers[0],
            estimate,
            rows,
        )

    def shrunk(self, settings: ModelSettings, need: MemoryNeed, limits: Limits) -> Limits | None:
        """What to try after llama.cpp refused this plan, which was made within `limits`; None where
        all that is left was set.
        """
        return shrink(
            num_cells=None if settings.ctx_size else self.context_size,
            min_cells=CELLS_STEP,
            num_gpu_layers=limits.open_layers(self.num_gpu_layers, settings),
            num_layers=len(need.layers),
        )


@dataclass(frozen=True, slots=True)
class _Steps:
    """How large steps are, whatever the length of a text."""

    pooling: Pooling
    settings: ModelSettings
    tokens: int
    num_sequences: int
    looks_ahead: bool

    @classmethod
    def make(
        cls,
        settings: ModelSettings,
        need: MemoryNeed,
        chosen: ChosenPooling,
        step_tokens: int,
        *,
        looks_ahead: bool,
    ) -> _Steps:
        step_tokens = max(2, step_tokens)
        most = NUM_SEQUENCES_RECURRENT if need.has_recurrent_state else NUM_SEQUENCES
        num_sequences = max(2, min(settings.parallel or most, MAX_SEQUENCES, step_tokens))
        return cls(chosen.pooling, settings, step_tokens, num_sequences, looks_ahead)

    def params(self, context_size: int) -> PoolingParams:
        settings = self.settings
        num_threads = settings.threads or usable_threads().count
        # An input of full length goes beside a whole step, or as a step of its own.
        whole = max(context_size, self.tokens)
        return PoolingParams(
            pooling=self.pooling,
            num_cells=whole if self.looks_ahead else context_size + self.tokens,
            num_sequences=self.num_sequences,
            batch_size=whole if self.looks_ahead else self.tokens,
            num_threads=num_threads,
            num_threads_batch=settings.threads_batch or num_threads,
            flash_attention=settings.flash_attn,
            cache_type_k=settings.cache_type_k,
            cache_type_v=settings.cache_type_v,
        )

    def shape(self, context_size: int) -> ContextShape:
        """What llama.cpp will be asked for."""
        params = self.params(context_size)
        return ContextShape(
            num_cells=params.num_cells,
            num_sequences=params.num_sequences,
            max_rows=params.batch_size,
            ubatch_size=params.batch_size,
            cache_type_k=params.cache_type_k,
            cache_type_v=params.cache_type_v,
            flash_attention=params.flash_attention != "off",
            window_is_full=True,
            embeds=True,
        )


@dataclass(frozen=True, slots=True)
class ChosenPooling:
    pooling: Pooling
    reason: str


def choose_pooling(file: ModelFile, settings: ModelSettings) -> ChosenPooling | None:
    """How the model pools, None for one that writes text. Raises InvalidModelFile for a model that
    can do neither, or not what was asked of it.
    """
    if settings.pooling == "none":
        if not file.generates_text:
            raise InvalidModelFile(
                f"{file.path} is a {file.architecture} model, which writes no text, so it needs "
                f"pooling. Leave --pooling out, or choose mean, cls, last or rank."
            )
        return None
    if settings.pooling is not None:
        return ChosenPooling(Pooling(settings.pooling), "as set")
    if file.stated_pooling is not None:
        return ChosenPooling(file.stated_pooling, "as the model file says")
    if not file.generates_text:
        return ChosenPooling(Pooling.MEAN, "usual for encoders; the model file does not say")
    if settings.embeddings:
        return ChosenPooling(Pooling.LAST, "usual for decoders; the model file does not say")
    return None


def _choose_step(settings: ModelSettings, memory: Memory) -> tuple[int, str]:
    if "batch_size" in settings.model_fields_set:
        return settings.batch_size, "at most, as set"
    if memory.device and settings.gpu_layers:
        return settings.batch_size, "at most"
    return min(settings.batch_size, STEP_TOKENS_CPU), "at most, fastest on a CPU"


def _choose_context(
    file: ModelFile,
    settings: ModelSettings,
    memory: Memory,
    limits: Limits,
    estimate_of: Callable[[int], MemoryEstimate],
    *,
    looks_ahead: bool,
) -> tuple[int, str]:
    trained = file.context_length or CELLS_STEP
    wanted = settings.ctx_size or trained
    reason = "as set" if settings.ctx_size else "what the model was trained for"
    if looks_ahead and wanted > trained:
        # Some encoders have a table of positions, and llama.cpp ends the process beyond its end.
        wanted, reason = trained, "what the model was trained for, which bounds it"
    elif wanted > trained:
        reason = f"as set, beyond the {trained} it was trained for"
    if settings.ctx_size:
        return wanted, reason
    share = ENCODER_SHARE if looks_ahead else CACHE_SHARE
    weights = estimate_of(CELLS_STEP).weights
    num_free = max(0, memory.host_bytes - weights)

    def fits(context_size: int) -> bool:
        estimate = estimate_of(context_size)
        taken = estimate.cache - estimate.device_cache
        if looks_ahead:
            # Not the cache but the rows for every token of a batch, though few are computed.
            taken = estimate.compute
        return taken <= num_free * share and memory.holds(estimate)

    room = most_cells(fits, limits.num_cells or wanted)
    if wanted > room:
        bound = f"{share:.0%} of {size_text(num_free)} free memory"
        if limits.num_cells is not None:
            return room, f"of {trained}, as it did not run with more"
        return room, f"what {bound} allows of the {trained} it was trained for"
    return wanted, reason


def _cache_rows(params: PoolingParams) -> tuple[EffectiveValue, EffectiveValue]:
    return (
        EffectiveValue("KV pool", f"{params.num_cells} tokens", "one longest text beside a step",
                       "--ctx-size"),
        EffectiveValue("KV types", f"{params.cache_type_k} / {params.cache_type_v}", "K / V",
                       "--cache-type-k, --cache-type-v"),
    )  # fmt: skip
