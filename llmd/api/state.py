"""What every handler works with."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from llmd.config.settings import ServerSettings
from llmd.registry.registry import ModelRegistry


@dataclass(frozen=True, slots=True)
class ApiState:
    registry: ModelRegistry
    settings: ServerSettings


def state_of(request: Request) -> ApiState:
    state = request.app.state.llmd
    assert isinstance(state, ApiState)
    return state
