"""From a model file and settings to an engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from llmd import __version__
from llmd.config.processor_times import busy_seconds, own_processors
from llmd.config.settings import ModelSettings
from llmd.core.embedding import PoolingTraits
from llmd.core.sampling import SamplingOverrides, SamplingParams
from llmd.engine.disk_tier import DiskTier
from llmd.engine.engine import Engine
from llmd.engine.estimate import make_plan
from llmd.engine.governor import ThreadGovernor
from llmd.engine.grammar import GrammarCompiler
from llmd.engine.kv_cache import KVCache
from llmd.engine.memory import Memory, MemoryEstimate
from llmd.engine.opening import ModelOpening, OpenedPoolingModel
from llmd.engine.pacing import Pacer
from llmd.engine.parking import Parking
from llmd.engine.plan import EffectiveValue, Plan
from llmd.engine.pooling import PoolingEngine
from llmd.engine.pooling_loading import make_pooling_engine, traits_of
from llmd.engine.runner import ModelRunner
from llmd.engine.scheduler import Scheduler
from llmd.engine.stepping import SteppingEngine
from llmd.errors import InvalidModelFile
from llmd.llama import library
from llmd.llama.context import LlamaContext
from llmd.llama.model import LlamaModel
from llmd.llama.model_digest import digest_of
from llmd.llama.sampler import SamplerChain
from llmd.llama.tokenizer import Tokenizer
from llmd.store.model_file import ModelFile, read_model_file

GAP_AIM = 0.85
"""Of --max-itl-ms: half of the steps take a little longer than the pacer aims at."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What the rest of llmd knows of a loaded model. Frozen; `tokenizer` and `grammars` work until
    the engine is closed.
    """

    path: Path
    description: str
    architecture: str
    metadata: dict[str, str]
    tokenizer: Tokenizer
    grammars: GrammarCompiler
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
    estimate: MemoryEstimate
    pooling: PoolingTraits | None = None
    """How it embeds or ranks; None for a model that writes text."""


def load_engine(
    path: Path,
    settings: ModelSettings,
    on_progress: Callable[[float], bool],
    memory: Memory | None = None,
) -> tuple[SteppingEngine, LoadedModel]:
    """Load a model and make its engine: an Engine, or a PoolingEngine where the model's `pooling`
    is not None. On the engine thread only. `memory` is what it was planned for
    (`llmd.engine.estimate`), and what it gets unless less is free now; None is what is free.
    Raises ModelLoadError.
    """
    file = read_model_file(path)
    _check_purpose(file)
    opened = ModelOpening(file, settings, _memory_for(file, settings, memory), on_progress).open()
    if isinstance(opened, OpenedPoolingModel):
        return _load_pooling(opened, settings)
    model, context, plan = opened.model, opened.context, opened.plan
    # Vocabulary-sized loops, done before the first request instead of during it.
    _ = model.tokenizer.end_of_generation_ids, model.tokenizer.control_texts
    _ = model.tokenizer.marker_texts
    engine = _make_engine(model, context, settings, plan)
    return engine, _describe(
        model,
        settings,
        context_size=plan.context_size,
        num_cells=context.num_cells,
        num_sequences=plan.num_sequences,
        effective=plan.effective,
        estimate=plan.estimate,
    )


def sampling_defaults(metadata: dict[str, str]) -> SamplingOverrides:
    """The model file's own sampling defaults, from its general.sampling.* metadata."""
    found: dict[str, int | float] = {}
    for key, (name, parse) in _SAMPLING_KEYS.items():
        text = metadata.get(f"general.sampling.{key}")
        if text is not None:
            found[name] = parse(float(text))
    return found


def _check_purpose(file: ModelFile) -> None:
    if file.is_translator:
        raise InvalidModelFile(
            f"{file.path} is a {file.architecture} model, an encoder and a decoder, which llmd "
            f"does not run. Serve a model that is one of them."
        )


def _memory_for(file: ModelFile, settings: ModelSettings, planned: Memory | None) -> Memory:
    """What was planned for, unless that is no longer free."""
    free = Memory.now()
    if planned is None or not free.holds(make_plan(file, settings, planned).estimate):
        return free
    return planned


def _load_pooling(
    opened: OpenedPoolingModel, settings: ModelSettings
) -> tuple[PoolingEngine, LoadedModel]:
    model, context, plan = opened.model, opened.context, opened.plan
    try:
        governor = _make_governor(plan.params.num_threads, plan.adapts_threads)
        engine = make_pooling_engine(model, context, plan, governor)
    except BaseException:
        context.free()
        model.free()
        raise
    if model.rerank_template:
        _ = model.tokenizer.control_texts, model.tokenizer.marker_texts
    described = _describe(
        model,
        settings,
        context_size=plan.context_size,
        num_cells=0,
        num_sequences=plan.params.num_sequences,
        effective=plan.effective,
        estimate=plan.estimate,
    )
    return engine, replace(described, pooling=traits_of(model, plan))


def _make_engine(
    model: LlamaModel, context: LlamaContext, settings: ModelSettings, plan: Plan
) -> Engine:
    def make_chain(params: SamplingParams, seed: int) -> SamplerChain:
        return SamplerChain(params, model.tokenizer, seed=seed, context_size=plan.context_size)

    batch_size = plan.params.batch_size
    runner = ModelRunner(
        model,
        context,
        batch_size=batch_size,
        exact_params=plan.exact_params,
        exact_bytes=plan.exact_bytes,
        governor=_make_governor(plan.params.num_threads, plan.adapts_threads),
    )
    cache = KVCache(
        runner,
        Parking(
            plan.cache_ram,
            _make_disk_tier(model, settings, context.num_cells),
            clock=time.perf_counter,
        ),
        num_cells=context.num_cells,
        num_ids=plan.num_ids,
        clock=time.perf_counter,
    )
    pacer = Pacer(batch_size, settings.max_itl_ms / 1e3 * GAP_AIM)
    scheduler = Scheduler(
        cache, pacer, num_sequences=plan.num_sequences, max_step_tokens=batch_size
    )
    return Engine(
        runner,
        cache,
        pacer,
        scheduler,
        model.tokenizer,
        make_chain,
        context_size=plan.context_size,
        clock=time.perf_counter,
    )


def _make_disk_tier(model: LlamaModel, settings: ModelSettings, num_cells: int) -> DiskTier | None:
    """States on disk fit the same weights, the same llama.cpp and the same kinds of cells only."""
    if settings.cache_dir is None:
        return None
    identity = (
        library.build_version(),
        digest_of(model.path),
        settings.cache_type_k,
        settings.cache_type_v,
        settings.flash_attn,
        settings.swa_full,
        model.stretches_positions(num_cells),
    )
    fingerprint = blake2b(repr(identity).encode(), digest_size=16).hexdigest()
    return DiskTier(settings.cache_dir, fingerprint, int(settings.cache_disk), time.time)


def _make_governor(num_threads: int, adapts_threads: bool) -> ThreadGovernor | None:
    processors = own_processors()
    if not adapts_threads or processors is None:
        return None
    return ThreadGovernor(
        num_threads,
        len(processors),
        busy_seconds=lambda: busy_seconds(processors),
        own_seconds=time.process_time,
        clock=time.perf_counter,
    )


def _describe(
    model: LlamaModel,
    settings: ModelSettings,
    *,
    context_size: int,
    num_cells: int,
    num_sequences: int,
    effective: tuple[EffectiveValue, ...],
    estimate: MemoryEstimate,
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
        grammars=GrammarCompiler(model.tokenizer),
        chat_template=model.chat_template,
        sampling=sampling,
        context_size=context_size,
        train_context_length=model.train_context_length,
        num_cells=num_cells,
        num_sequences=num_sequences,
        num_parameters=model.num_parameters,
        num_bytes=model.num_bytes,
        embedding_length=model.embedding_length,
        fingerprint=f"llmd-{__version__}-{digest}",
        effective=effective,
        estimate=estimate,
    )
