"""All that leaves the engine thread."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.core.output import Output
from llmd.engine.loading import LoadedModel
from llmd.engine.stats import EngineStats
from llmd.errors import LlmdError


@dataclass(frozen=True, slots=True)
class Loaded:
    """The engine takes requests now."""

    model: LoadedModel


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """There is no engine, and the thread has ended."""

    error: LlmdError


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step brought, with the state after it."""

    outputs: tuple[Output, ...]
    stats: EngineStats


@dataclass(frozen=True, slots=True)
class Ended:
    """The model is freed and the thread has ended: asked to, or `error` says why not."""

    error: LlmdError | None


Notice = Loaded | LoadFailed | Stepped | Ended
