"""From a loaded model to an engine that embeds or ranks."""

from __future__ import annotations

import time

from llmd.core.embedding import Pooling, PoolingTraits
from llmd.engine.governor import ThreadGovernor
from llmd.engine.pooling import PoolingEngine
from llmd.engine.pooling_plan import PoolingPlan
from llmd.engine.pooling_runner import ModelPoolingRunner, TextPart
from llmd.errors import InvalidModelFile
from llmd.llama.model import LlamaModel
from llmd.llama.pooling_context import PoolingContext

SOFTMAX_ARCHITECTURES = ("qwen3", "qwen3vl")
"""Whose classification heads llama.cpp ends with a softmax (llama-graph.cpp build_pooling)."""

_PROBES = ((3, 5, 6), (4, 8, 9), (7, 11, 10))
"""Three texts of tokens that every vocabulary has."""


def make_pooling_engine(
    model: LlamaModel, context: PoolingContext, plan: PoolingPlan, governor: ThreadGovernor | None
) -> PoolingEngine:
    """Raises InvalidModelFile where scores are asked of a model without a classification head."""
    runner = ModelPoolingRunner(
        model, context, batch_size=plan.params.batch_size, governor=governor
    )
    if plan.pooling is Pooling.RANK:
        _check_head(model, runner)
    return PoolingEngine(
        runner,
        plan.pooling,
        step_tokens=plan.step_tokens,
        num_sequences=plan.params.num_sequences,
        clock=time.perf_counter,
    )


def traits_of(model: LlamaModel, plan: PoolingPlan) -> PoolingTraits:
    ranks = plan.pooling is Pooling.RANK
    return PoolingTraits(
        pooling=plan.pooling,
        num_dimensions=model.num_labels if ranks else model.output_length,
        gives_probabilities=ranks and model.architecture in SOFTMAX_ARCHITECTURES,
    )


def _check_head(model: LlamaModel, runner: ModelPoolingRunner) -> None:
    """Without a head llama.cpp takes numbers of the text's vector for scores, so that the score of
    the second text of a batch is one of the first text's numbers: it changes with the first text
    and not with its own.
    """
    score = _score_beside(runner, (0, 1))
    own_change = abs(_score_beside(runner, (0, 2)) - score)
    if own_change < abs(_score_beside(runner, (2, 1)) - score):
        cure = "Serve a model that was converted as a reranker."
        if model.generates_text:
            cure = "With --pooling none it ranks by writing yes or no."
        raise InvalidModelFile(f"{model.path} has no classification head to rank with. {cure}")


def _score_beside(runner: ModelPoolingRunner, pair: tuple[int, int]) -> float:
    """The score of the second of two probes in one batch."""
    parts = [TextPart(place, 0, _PROBES[probe]) for place, probe in enumerate(pair)]
    values = runner.forward(parts)
    for part in parts:
        runner.forget(part.sequence_id)
    return float(values[1][0])
