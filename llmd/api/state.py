"""What every handler works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from llmd.api.openai.response_background import BackgroundResponses
from llmd.config.settings import ServerSettings
from llmd.registry.registry import ModelRegistry
from llmd.responses.store import ResponseStore
from llmd.serving.session import Sessions


@dataclass(frozen=True, slots=True)
class ApiState:
    registry: ModelRegistry
    settings: ServerSettings
    responses: ResponseStore
    background: BackgroundResponses = field(default_factory=BackgroundResponses)
    sessions: Sessions = field(default_factory=Sessions)

    async def close(self, *, grace: float = 0.0) -> None:
        """Let background responses go on for so many seconds, and close the store: before the
        models are, so that what is unfinished is stored as such. Idempotent.
        """
        await self.background.close(grace=grace)
        await self.responses.close()


def state_of(request: Request) -> ApiState:
    state = request.app.state.llmd
    assert isinstance(state, ApiState)
    return state
