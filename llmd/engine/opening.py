"""From a plan to a loaded model with a context that works, with a smaller plan where it must be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from llmd.config.settings import ModelSettings
from llmd.engine.estimate import make_plan
from llmd.engine.fit import NO_LIMITS, Limits, NativeFacts
from llmd.engine.memory import Memory
from llmd.engine.plan import Plan
from llmd.engine.pooling_plan import PoolingPlan
from llmd.errors import NotEnoughMemory
from llmd.llama.batch import LlamaBatch
from llmd.llama.context import DecodeStatus, LlamaContext
from llmd.llama.model import LlamaModel
from llmd.llama.pooling_context import PoolingContext
from llmd.store.memory_need import MemoryNeed
from llmd.store.model_file import ModelFile

logger = logging.getLogger("llmd.engine")


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that writes, and its context."""

    model: LlamaModel
    context: LlamaContext
    plan: Plan


@dataclass(frozen=True, slots=True)
class OpenedPoolingModel:
    """A model that embeds or ranks, and its context."""

    model: LlamaModel
    context: PoolingContext
    plan: PoolingPlan


class ModelOpening:
    """One model file, to be opened within what memory there is. On the engine thread only."""

    def __init__(
        self,
        file: ModelFile,
        settings: ModelSettings,
        memory: Memory,
        on_progress: Callable[[float], bool],
    ) -> None:
        self._file = file
        self._settings = settings
        self._memory = memory
        self._on_progress = on_progress

    def open(self) -> OpenedModel | OpenedPoolingModel:
        """Load the model as planned. Where llama.cpp cannot allocate what was planned, or cannot
        compute with it, what nobody set is made smaller, with a warning, until it can. Raises
        ModelLoadError.
        """
        limits, model = NO_LIMITS, None
        try:
            while True:
                plan = make_plan(self._file, self._settings, self._memory, limits)
                try:
                    if model is None or model.num_gpu_layers != plan.num_gpu_layers:
                        if model is not None:
                            model.free()
                        model = None
                        model = self._load(plan)
                    return self._open(model, plan, limits)
                except NotEnoughMemory as error:
                    smaller = plan.shrunk(self._settings, MemoryNeed.of(self._file), limits)
                    if smaller is None:
                        raise
                    limits = smaller
                    logger.warning("%s Trying again with %s.", error.message, limits)
        except BaseException:
            if model is not None:
                model.free()
            raise

    def _load(self, plan: Plan | PoolingPlan) -> LlamaModel:
        return LlamaModel(
            self._file.path, num_gpu_layers=plan.num_gpu_layers, on_progress=self._on_progress
        )

    def _open(
        self, model: LlamaModel, plan: Plan | PoolingPlan, limits: Limits
    ) -> OpenedModel | OpenedPoolingModel:
        ahead = self._file.looks_ahead
        plan = self._plan_again(plan, limits, NativeFacts.of(model, looks_ahead=ahead))
        if isinstance(plan, Plan):
            return OpenedModel(model, _make_context(model, plan), plan)
        context = PoolingContext(model, plan.params)
        if context.looks_ahead != ahead:
            # For some architectures only llama.cpp knows, and tells it of a context only.
            ahead = context.looks_ahead
            context.free()
            plan = self._plan_again(plan, limits, NativeFacts.of(model, looks_ahead=ahead))
            assert isinstance(plan, PoolingPlan)
            context = PoolingContext(model, plan.params)
        return OpenedPoolingModel(model, context, plan)

    def _plan_again(
        self, plan: Plan | PoolingPlan, limits: Limits, facts: NativeFacts
    ) -> Plan | PoolingPlan:
        """The plan, or another one where llama.cpp knows better than the header."""
        if facts == NativeFacts.stated(self._file):
            return plan
        return make_plan(self._file, self._settings, self._memory, limits, facts)


def probe(context: LlamaContext, plan: Plan) -> None:
    """Compute a step as large as there will ever be, of as many sequences, and forget it. Raises
    NotEnoughMemory where llama.cpp cannot.
    """
    num_sequences = plan.num_sequences
    most = min(plan.params.batch_size, plan.params.num_cells)
    each = max(1, most // num_sequences)
    batch = LlamaBatch(each * num_sequences)
    for sequence_id in range(num_sequences):
        batch.add(sequence_id, 0, [0] * each, 1)
    status = context.decode(batch, num_sequences)
    context.clear()
    if status is not DecodeStatus.OK:
        raise NotEnoughMemory(
            f"a first step of {each * num_sequences} tokens could not be computed. Set fewer "
            f"--gpu-layers, or a smaller --kv-tokens or --ubatch-size."
        )


def _make_context(model: LlamaModel, plan: Plan) -> LlamaContext:
    context = LlamaContext(model, plan.params)
    try:
        # A CPU allocates all before it computes, and would take seconds for such a step; a GPU's
        # kernels allocate while they compute.
        if plan.num_gpu_layers:
            probe(context, plan)
    except BaseException:
        context.free()
        raise
    return context
