"""From settings to an engine: every value that was left open is chosen here, with its reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from llmd import __version__
from llmd.config.memory import available_memory
from llmd.config.model_reference import parts_of
from llmd.config.processor_times import busy_seconds, own_processors
from llmd.config.processors import usable_threads
from llmd.config.settings import ModelSettings
from llmd.core.sampling import SamplingOverrides, SamplingParams
from llmd.engine.engine import Engine
from llmd.engine.governor import ThreadGovernor
from llmd.engine.runner import ModelRunner
from llmd.engine.scheduler import MAX_SCORED_TOKENS, Scheduler
from llmd.errors import InvalidModelFile, NotEnoughMemory
from llmd.llama import library
from llmd.llama.context import ContextParams, LlamaContext
from llmd.llama.model import LlamaModel
from llmd.llama.sampler import SamplerChain
from llmd.llama.tokenizer import Tokenizer

DEFAULT_PARALLEL = 16

DEFAULT_PARALLEL_RECURRENT = 4
"""Where every sequence takes its block of state whether it is used or not."""

CACHE_SHARE = 0.25
"""Of the memory that is free after the weights are in, what an automatic KV pool may take."""

# general.sampling.* (llama.cpp src/llama-arch.cpp) by the field it is a default for.
_SAMPLING_KEYS: dict[str, tuple[str, type[int] | type[float]]] = {
    "temp": ("temperature", float),
    "top_k": ("top_k", int),
    "top_p": ("top_p", float),
    "min_p": ("min_p", float),
    "xtc_probability": ("xtc_probability", float),
    "xtc_threshold": ("xtc_threshold", float),
    "penalty_last_n": ("repeat_last_n", int),
    "penalty_repeat": ("repeat_penalty", float),
    "mirostat": ("mirostat", int),
    "mirostat_tau": ("mirostat_tau", float),
    "mirostat_eta": ("mirostat_eta", float),
}


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """A row of the start-up table: what holds, why, and the flag that changes it."""

    name: str
    value: str
    reason: str
    flag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What the rest of llmd knows of a loaded model. Frozen; `tokenizer` works until the engine is
    closed.
    """

    path: Path
    description: str
    architecture: str
    metadata: dict[str, str]
    tokenizer: Tokenizer
    chat_template: str | None
    sampling: SamplingParams
    """The defaults that requests lie over: the configuration's, else the file's, else llmd's."""
    context_size: int
    train_context_length: int
    num_cells: int
    num_sequences: int
    num_parameters: int
    num_bytes: int
    embedding_length: int
    fingerprint: str
    """Equal for equal builds, models and KV types: OpenAI's system_fingerprint."""
    effective: tuple[EffectiveValue, ...]


def load_engine(
    path: Path, settings: ModelSettings, on_progress: Callable[[float], bool]
) -> tuple[Engine, LoadedModel]:
    """Load a model and make its engine. On the engine thread only. Raises ModelLoadError."""
    num_gpu_layers = _num_gpu_layers(settings)
    _check_memory(path, num_gpu_layers)
    model = LlamaModel(path, num_gpu_layers=num_gpu_layers, on_progress=on_progress)
    try:
        _check_purpose(model)
        plan = _Plan.make(model, settings)
        context = LlamaContext(model, plan.params)
    except BaseException:
        model.free()
        raise
    # Vocabulary-sized loops, done before the first request instead of during it.
    _ = model.tokenizer.end_of_generation_ids, model.tokenizer.control_texts
    _ = model.tokenizer.marker_texts
    engine = _make_engine(model, context, plan)
    return engine, _describe(model, context, settings, plan)


def sampling_defaults(metadata: dict[str, str]) -> SamplingOverrides:
    """The model file's own sampling defaults, from its general.sampling.* metadata."""
    found: dict[str, int | float] = {}
    for key, (name, parse) in _SAMPLING_KEYS.items():
        text = metadata.get(f"general.sampling.{key}")
        if text is not None:
            found[name] = parse(float(text))
    return found


@dataclass(frozen=True, slots=True)
class _Plan:
    params: ContextParams
    context_size: int
    adapts_threads: bool
    """Nobody set the number of threads, so it may follow what the machine has free."""
    effective: tuple[EffectiveValue, ...]

    @classmethod
    def make(cls, model: LlamaModel, settings: ModelSettings) -> _Plan:
        parallel, parallel_reason = settings.parallel, "as set"
        if not parallel:
            parallel, parallel_reason = DEFAULT_PARALLEL, "default"
            if model.has_recurrent_state:
                parallel = DEFAULT_PARALLEL_RECURRENT
                parallel_reason = "default of models with recurrent state"
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
            num_sequences=parallel,
            max_rows=parallel + MAX_SCORED_TOKENS,
            batch_size=batch_size,
            ubatch_size=min(settings.ubatch_size, batch_size),
            num_threads=num_threads,
            num_threads_batch=settings.threads_batch or num_threads,
            flash_attention=settings.flash_attn,
            cache_type_k=settings.cache_type_k,
            cache_type_v=settings.cache_type_v,
        )
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
            EffectiveValue("GPU layers", *_gpu_text(settings), "--gpu-layers"),
        )  # fmt: skip
        adapts_threads = not (settings.threads or settings.threads_batch)
        return cls(params, context_size, adapts_threads, effective)


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


def _num_gpu_layers(settings: ModelSettings) -> int:
    if not library.supports_gpu():
        return 0
    return -1 if settings.gpu_layers == "auto" else int(settings.gpu_layers)


def _gpu_text(settings: ModelSettings) -> tuple[str, str]:
    if not library.supports_gpu():
        return "0", "this build of llama-cpp-python is for the CPU"
    if settings.gpu_layers == "auto":
        return "all", "default where the build has a GPU backend"
    return str(settings.gpu_layers), "as set"


def _check_memory(path: Path, num_gpu_layers: int) -> None:
    if num_gpu_layers or not path.is_file():
        return
    memory, size = available_memory(), sum(part.stat().st_size for part in parts_of(path))
    if size > memory.num_bytes:
        raise NotEnoughMemory(
            f"{path} takes {size / 2**30:.1f} GiB, and only {memory.num_bytes / 2**30:.1f} GiB of "
            f"memory is free ({memory.reason}). Use a smaller quantization or free memory."
        )


def _check_purpose(model: LlamaModel) -> None:
    if not model.generates_text:
        raise InvalidModelFile(
            f"{model.path} is a {model.architecture} model, which generates no text. "
            f"Serve a text generation model instead."
        )


def _make_engine(model: LlamaModel, context: LlamaContext, plan: _Plan) -> Engine:
    def make_chain(params: SamplingParams, seed: int) -> SamplerChain:
        return SamplerChain(params, model.tokenizer, seed=seed, context_size=plan.context_size)

    return Engine(
        ModelRunner(
            model, context, batch_size=plan.params.batch_size, governor=_make_governor(plan)
        ),
        Scheduler(
            num_cells=context.num_cells,
            num_sequences=plan.params.num_sequences,
            max_step_tokens=plan.params.batch_size,
        ),
        model.tokenizer,
        make_chain,
        context_size=plan.context_size,
        clock=time.perf_counter,
    )


def _make_governor(plan: _Plan) -> ThreadGovernor | None:
    processors = own_processors()
    if not plan.adapts_threads or processors is None:
        return None
    return ThreadGovernor(
        plan.params.num_threads,
        len(processors),
        busy_seconds=lambda: busy_seconds(processors),
        own_seconds=time.process_time,
        clock=time.perf_counter,
    )


def _describe(
    model: LlamaModel, context: LlamaContext, settings: ModelSettings, plan: _Plan
) -> LoadedModel:
    identity = (
        library.build_version(),
        model.path.name,
        model.num_bytes,
        model.description,
        settings.cache_type_k,
        settings.cache_type_v,
    )
    digest = blake2b(repr(identity).encode(), digest_size=5).hexdigest()
    sampling = SamplingParams().override(
        sampling_defaults(model.metadata), settings.sampling.overrides()
    )
    return LoadedModel(
        path=model.path,
        description=model.description,
        architecture=model.architecture,
        metadata=model.metadata,
        tokenizer=model.tokenizer,
        chat_template=model.chat_template,
        sampling=sampling,
        context_size=plan.context_size,
        train_context_length=model.train_context_length,
        num_cells=context.num_cells,
        num_sequences=plan.params.num_sequences,
        num_parameters=model.num_parameters,
        num_bytes=model.num_bytes,
        embedding_length=model.embedding_length,
        fingerprint=f"llmd-{__version__}-{digest}",
        effective=plan.effective,
    )
