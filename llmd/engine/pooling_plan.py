"""How a model that embeds or ranks is run: what was left open is chosen here, with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.config.memory import available_memory
from llmd.config.processors import usable_threads
from llmd.config.settings import ModelSettings
from llmd.core.embedding import Pooling
from llmd.engine.plan import CACHE_SHARE, EffectiveValue, gpu_text, num_gpu_layers
from llmd.errors import InvalidModelFile
from llmd.llama import library
from llmd.llama.model import LlamaModel
from llmd.llama.pooling_context import PoolingParams

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
    effective: tuple[EffectiveValue, ...]

    @classmethod
    def make(
        cls, model: LlamaModel, settings: ModelSettings, chosen: ChosenPooling, *, looks_ahead: bool
    ) -> PoolingPlan:
        """On the engine thread, which owns the model. `looks_ahead` says that a text must be
        computed whole.
        """
        step_tokens, step_reason = _choose_step(settings)
        step_tokens = max(2, step_tokens)
        context_size, context_reason = _choose_context(model, settings, looks_ahead)
        # An input of full length goes beside a whole step, or as a step of its own.
        num_cells = max(context_size, step_tokens) if looks_ahead else context_size + step_tokens
        most = NUM_SEQUENCES_RECURRENT if model.has_recurrent_state else NUM_SEQUENCES
        num_sequences = max(2, min(settings.parallel or most, MAX_SEQUENCES, step_tokens))
        threads = usable_threads()
        num_threads = settings.threads or threads.count
        params = PoolingParams(
            pooling=chosen.pooling,
            num_cells=num_cells,
            num_sequences=num_sequences,
            batch_size=max(context_size, step_tokens) if looks_ahead else step_tokens,
            num_threads=num_threads,
            num_threads_batch=settings.threads_batch or num_threads,
            flash_attention=settings.flash_attn,
            cache_type_k=settings.cache_type_k,
            cache_type_v=settings.cache_type_v,
        )
        thread_reason = "as set" if settings.threads else f"at most; {threads.reason}"
        parts = "longer texts alone" if looks_ahead else "longer texts in parts"
        effective = (
            EffectiveValue("pooling", chosen.pooling.value, chosen.reason, "--pooling"),
            EffectiveValue("context per text", f"{context_size}", context_reason, "--ctx-size"),
            EffectiveValue("tokens per step", f"{step_tokens}", f"{step_reason}; {parts}",
                           "--batch-size"),
            EffectiveValue("texts per step", f"{num_sequences}",
                           "as set" if settings.parallel else "default", "--parallel"),
            *(() if looks_ahead else (
                EffectiveValue("KV pool", f"{num_cells} tokens",
                               "one longest text beside a step", "--ctx-size"),
                EffectiveValue("KV types", f"{params.cache_type_k} / {params.cache_type_v}",
                               "K / V", "--cache-type-k, --cache-type-v"),
            )),
            EffectiveValue("threads", f"{num_threads}", thread_reason, "--threads"),
            EffectiveValue("waiting", library.WAIT_POLICY, "for each other", "OMP_WAIT_POLICY"),
            EffectiveValue("GPU layers", *gpu_text(settings), "--gpu-layers"),
        )  # fmt: skip
        adapts_threads = not (settings.threads or settings.threads_batch)
        return cls(
            chosen.pooling,
            params,
            context_size,
            step_tokens,
            looks_ahead,
            adapts_threads,
            effective,
        )


@dataclass(frozen=True, slots=True)
class ChosenPooling:
    pooling: Pooling
    reason: str


def choose_pooling(model: LlamaModel, settings: ModelSettings) -> ChosenPooling | None:
    """How the model pools, None for one that writes text. Raises InvalidModelFile for a model that
    can do neither, or not what was asked of it.
    """
    if settings.pooling == "none":
        if not model.generates_text:
            raise InvalidModelFile(
                f"{model.path} is a {model.architecture} model, which writes no text, so it needs "
                f"pooling. Leave --pooling out, or choose mean, cls, last or rank."
            )
        return None
    if settings.pooling is not None:
        return ChosenPooling(Pooling(settings.pooling), "as set")
    if model.pooling is not None:
        return ChosenPooling(model.pooling, "as the model file says")
    if not model.generates_text:
        return ChosenPooling(Pooling.MEAN, "usual for encoders; the model file does not say")
    if settings.embeddings:
        return ChosenPooling(Pooling.LAST, "usual for decoders; the model file does not say")
    return None


def _choose_step(settings: ModelSettings) -> tuple[int, str]:
    if "batch_size" in settings.model_fields_set:
        return settings.batch_size, "at most, as set"
    if num_gpu_layers(settings):
        return settings.batch_size, "at most"
    return min(settings.batch_size, STEP_TOKENS_CPU), "at most, fastest on a CPU"


def _choose_context(
    model: LlamaModel, settings: ModelSettings, looks_ahead: bool
) -> tuple[int, str]:
    trained = model.train_context_length
    wanted = settings.ctx_size or trained
    reason = "as set" if settings.ctx_size else "what the model was trained for"
    if looks_ahead and wanted > trained:
        # Some encoders have a table of positions, and llama.cpp ends the process beyond its end.
        wanted, reason = trained, "what the model was trained for, which bounds it"
    elif wanted > trained:
        reason = f"as set, beyond the {trained} it was trained for"
    if settings.ctx_size:
        return wanted, reason
    fits, share = _tokens_that_fit(model, settings, looks_ahead)
    if wanted > fits:
        return fits, f"what {share} allows of the {trained} it was trained for"
    return wanted, reason


def _tokens_that_fit(
    model: LlamaModel, settings: ModelSettings, looks_ahead: bool
) -> tuple[int, str]:
    """Tokens of one text that have room, and in what."""
    per_token = model.cache_bytes_per_token(settings.cache_type_k, settings.cache_type_v)
    if looks_ahead:
        # llama.cpp keeps a row of logits for every token of a batch, though none is computed.
        per_token = 4 * (model.tokenizer.num_tokens + model.output_length)
    share = ENCODER_SHARE if looks_ahead else CACHE_SHARE
    num_free = max(0, available_memory().num_bytes - model.num_bytes)
    num_tokens = int(num_free * share) // max(1, per_token) // 256 * 256
    return max(256, num_tokens), f"{share:.0%} of {num_free / 2**30:.1f} GiB free memory"
