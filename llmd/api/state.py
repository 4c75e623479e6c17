"""What every handler works with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from starlette.requests import Request

from llmd.api.auth import Caller
from llmd.api.draining import Drain
from llmd.api.key_ring import KeyRing
from llmd.api.openai.response_background import BackgroundResponses
from llmd.api.reloading import Reloaded
from llmd.config.settings import ServerSettings
from llmd.metrics.metrics import Metrics
from llmd.recording.writer import RecordingWriter
from llmd.registry.registry import ModelRegistry
from llmd.responses.store import ResponseStore
from llmd.serving.session import Sessions


@dataclass(slots=True)
class ApiState:
    registry: ModelRegistry
    settings: ServerSettings
    """Those in force: others take their place when the configuration is reloaded."""
    responses: ResponseStore
    background: BackgroundResponses = field(default_factory=BackgroundResponses)
    sessions: Sessions = field(default_factory=Sessions)
    drain: Drain = field(default_factory=Drain)
    keys: KeyRing = field(default_factory=KeyRing)
    caller: Caller | None = None
    """Who sent the request at hand; None where no keys are configured."""
    recordings: RecordingWriter = field(default_factory=RecordingWriter)
    metrics: Metrics = field(default_factory=Metrics)
    stuck: set[str] = field(default_factory=set)
    """Models whose engine gets no further; the daemon is not ready then."""
    reload: Callable[[], Awaitable[Reloaded]] | None = None
    """Reads the configuration once more. Raises ConfigError. None where there is none."""

    async def close(self) -> None:
        """End background responses, and close the store: before the models are, so that what is
        unfinished is stored as such. Idempotent.
        """
        await self.background.close()
        await self.responses.close()
        await asyncio.to_thread(self.recordings.close)


def state_of(request: Request) -> ApiState:
    """What a request's handler works with: of the models, those that its key may use."""
    state = request.app.state.llmd
    assert isinstance(state, ApiState)
    caller: Caller | None = request.scope.get("llmd.caller")
    if caller is None:
        return state
    models = caller.key.models
    registry = state.registry if models is None else state.registry.permitting(models)
    return replace(state, caller=caller, registry=registry)
